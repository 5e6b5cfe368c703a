//! `linkseal store`: backs up the embedded store, also while it is in use, and restores it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use linkseal_config::Config;
use linkseal_domain::cert::sealed::Sealer;
use linkseal_store::sqlite;

use super::{Failure, output};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write a consistent copy to a new file, also while `serve` runs.
    Backup {
        /// The copy to write.
        file: PathBuf,
        #[command(flatten)]
        which: Which,
    },
    /// Create the store from a copy; an existing store is never overwritten. The file gets the owner of
    /// its directory, so that the service can open it even if root restores it.
    Restore {
        /// The copy to read.
        file: PathBuf,
        #[command(flatten)]
        which: Which,
    },
}

/// The store to copy or to create.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// The configuration that names the store.
    #[arg(long, default_value = "linkseal.toml")]
    config: PathBuf,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Backup { file, which } => {
            let (store, key) = which.store()?;
            sqlite::backup(&store, &file).map_err(Failure::failed)?;
            which.done(&store, &file, &key, "written, readable for this user only")
        }
        Command::Restore { file, which } => {
            let (store, key) = which.store()?;
            sqlite::restore(&file, &store).map_err(Failure::failed)?;
            let owner = std::fs::metadata(&store).map_err(Failure::failed)?;
            let (user, group) = (owner.uid(), owner.gid());
            let what = format!("restored for user {user}, group {group}");
            which.done(&file, &store, &key, &what)?;
            check_key(&store, &key)
        }
    }
}

/// Checks that the key beside a restored store opens its secrets, so that a wrong key is reported now and not
/// at the next start.
fn check_key(store: &Path, key: &Path) -> Result<(), Failure> {
    let sealed = sqlite::sealed_secret(store).map_err(Failure::failed)?;
    let Some(id) = sealed.and_then(|blob| Sealer::key_of(&blob)) else {
        return Ok(());
    };
    match Sealer::from_file(key, false) {
        Ok(sealer) if sealer.has(id) => Ok(()),
        Ok(_) => Err(Failure::Failed(format!(
            "{} is not the key that sealed this store (id {}): replace it by that key before the next start",
            key.display(),
            hex::encode(id)
        ))),
        Err(error) => Err(Failure::Failed(format!(
            "{error}; put the store's own key there before the next start"
        ))),
    }
}

impl Which {
    /// The store's file, and the file of the key that seals its secrets.
    fn store(&self) -> Result<(PathBuf, PathBuf), Failure> {
        let config = Config::load(&self.config)?;
        let path = config.store.sqlite_path().map(Path::to_owned);
        let no_file =
            || Failure::Usage("store.url does not name a file; use PostgreSQL's own tools for its backups".to_owned());
        Ok((path.ok_or_else(no_file)?, config.store.key_path().0))
    }

    fn done(&self, from: &Path, to: &Path, key: &Path, what: &str) -> Result<(), Failure> {
        if self.json {
            return output::json(&serde_json::json!({"from": from, "to": to, "key_file": key}));
        }
        output::line(&format!(
            "{}: {what}; its secrets can be opened only with the key {}, which is not part of the copy",
            to.display(),
            key.display()
        ))
    }
}
