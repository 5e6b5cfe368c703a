//! Opening the database file: lock, settings, and schema migrations.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, ffi};

use crate::StoreError;

/// The schema, step by step; `PRAGMA user_version` counts the steps that were applied. Never change one
/// that was released: add one.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("../schema/sqlite/001_initial.sql"),
    include_str!("../schema/sqlite/002_redirects_and_kills.sql"),
    include_str!("../schema/sqlite/003_outbox.sql"),
    include_str!("../schema/sqlite/004_issuing.sql"),
    include_str!("../schema/sqlite/005_set_aside.sql"),
    include_str!("../schema/sqlite/006_fleet.sql"),
];

/// Marks the file as a linkseal store (`PRAGMA application_id`): "lsea" in ASCII.
const APPLICATION_ID: i64 = 0x6c73_6561;
/// Only the owner can read the keys, even though they are sealed.
const FILE_MODE: u32 = 0o600;
/// How long a connection waits for another of its own process, or for a backup tool.
const BUSY: Duration = Duration::from_secs(5);
/// Memory for pages, in KiB per connection: the inner pages of the indexes of 100,000 domains.
const CACHE_KIB: i64 = 8 * 1024;
/// To this size the write-ahead log is truncated after a long read made it longer, in bytes.
const WAL_KEPT: i64 = 64 * 1024 * 1024;
/// All statements of this module fit, so that none is parsed twice.
const STATEMENTS: usize = 128;

/// The writing connection, and the lock that keeps other processes out.
pub(super) struct Opened {
    pub(super) writer: Connection,
    /// The file, with symbolic links followed.
    pub(super) path: PathBuf,
    pub(super) lock: File,
}

/// Opens the store, creates it if there is none, and migrates it to the newest schema.
pub(super) fn open(path: &Path) -> Result<Opened, StoreError> {
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::StorageFull => StoreError::Full,
        io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly,
        _ => StoreError::Unavailable(format!(
            "{} cannot be opened ({error}); {}",
            path.display(),
            what_it_needs(path)
        )),
    };
    // SQLite gives its two side files the mode of the main one.
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .open(path)
        .map_err(cannot)?;
    let path = fs::canonicalize(path).map_err(cannot)?;
    let lock = lock(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(FILE_MODE)).map_err(cannot)?;
    let writer = prepare(&path).map_err(|error| at(&path, error))?;
    // The file's directory entry must be as durable as its contents.
    path.parent().map_or(Ok(()), sync_directory).map_err(cannot)?;
    Ok(Opened { writer, path, lock })
}

/// What has to be fixed if a file cannot be opened.
pub(super) fn what_it_needs(path: &Path) -> String {
    let Ok(there) = fs::metadata(path) else {
        return "its directory must exist and be writable for linkseal".to_owned();
    };
    if !there.is_file() {
        return "it must be a file".to_owned();
    }
    let (owner, user) = (there.uid(), rustix::process::geteuid().as_raw());
    if owner == user {
        return "linkseal must be able to read and write it".to_owned();
    }
    format!("it belongs to user {owner} and linkseal runs as user {user}: give it the service's owner (chown)")
}

/// A further connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let open = || {
        let reader =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        settings(&reader)?;
        Ok(reader)
    };
    open().map_err(|error| at(path, error))
}

/// Takes the write-ahead log of a private copy into its file and migrates it to the newest schema, so
/// that the file alone can be read.
pub(super) fn take_in_log(path: &Path) -> Result<(), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    settings(&db)?;
    if schema_of(&db)? == 0 {
        return Err(StoreError::Unavailable("it is empty".into()));
    }
    migrate(&mut db, MIGRATIONS)?;
    let _mode: String = db.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))?;
    Ok(())
}

/// Opens a file that nothing writes, by its URI.
pub(super) fn open_immutable(uri: &str) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let reader = Connection::open_with_flags(uri, flags)?;
    settings(&reader)?;
    // Reads the schema: from here on the file can be unlinked.
    schema_of(&reader)?;
    Ok(reader)
}

/// Whether another process has the store open.
pub(super) fn is_locked(path: &Path) -> bool {
    let beside = File::open(with_suffix(path, ".lock"));
    beside.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Locks the store against other processes; the operating system releases the lock when this one ends, in
/// whatever way. The empty lock file stays: removing it would be a race.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let beside = with_suffix(path, ".lock");
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::StorageFull => StoreError::Full,
        io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly,
        _ => StoreError::Unavailable(format!(
            "{} cannot be locked ({error}); {}",
            beside.display(),
            what_it_needs(&beside)
        )),
    };
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .open(&beside)
        .map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
            path: path.display().to_string(),
        }),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}

/// The schema version of a file. Fails if it is not a store of linkseal, or a newer version's.
pub(super) fn schema_of(db: &Connection) -> Result<i64, StoreError> {
    let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let application: i64 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION_ID && (tables > 0 || found != 0) {
        return Err(StoreError::Unavailable(
            "it is a database of another program; name a file of its own".into(),
        ));
    }
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        Err(StoreError::Newer { found, known })
    } else {
        Ok(found)
    }
}

/// The path with a suffix appended to the file's name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes a new, removed or renamed entry of a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    File::open(directory)?.sync_all()
}

fn prepare(path: &Path) -> Result<Connection, StoreError> {
    let mut writer = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    settings(&writer)?;
    // Before anything is written to a file that may not be ours.
    schema_of(&writer)?;
    let mode: String = writer.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Unavailable(
            "its file system does not support it; put it on a local disk".into(),
        ));
    }
    // Every commit is synced: what was answered with Ok survives a power cut.
    writer.pragma_update(None, "synchronous", "FULL")?;
    writer.pragma_update(None, "foreign_keys", true)?;
    writer.pragma_update(None, "journal_size_limit", WAL_KEPT)?;
    let (from, to) = migrate(&mut writer, MIGRATIONS)?;
    if from == 0 {
        tracing::info!(
            path = %path.display(),
            "the store is new and empty (if there was one before, restore it: linkseal store restore)"
        );
    } else if from < to {
        tracing::warn!(
            path = %path.display(), from, to,
            "the store was migrated to a newer schema; the version before cannot open it (to roll back, restore a \
             backup from before)"
        );
    }
    // No other process has the store open, so every owner of a lease has ended: an order that a crash
    // interrupted is resumed at once. The counter of fences continues, so that an old one cannot write.
    // The same goes for the node: its next process must not wait until the one before counts as gone.
    writer.execute_batch("DELETE FROM leases; DELETE FROM nodes;")?;
    Ok(writer)
}

fn settings(db: &Connection) -> Result<(), StoreError> {
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.pragma_update(None, "cache_size", -CACHE_KIB)?;
    db.pragma_update(None, "trusted_schema", false)?;
    Ok(())
}

/// Applies the missing steps, each completely or not at all. Returns the schema before and after.
fn migrate(db: &mut Connection, steps: &[&str]) -> Result<(i64, i64), StoreError> {
    let done = schema_of(db)?;
    let mut reached = done;
    for (version, step) in (1i64..).zip(steps).skip(usize::try_from(done).unwrap_or(0)) {
        let step_taken = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step_taken.execute_batch(step)?;
        step_taken.pragma_update(None, "application_id", APPLICATION_ID)?;
        step_taken.pragma_update(None, "user_version", version)?;
        step_taken.commit()?;
        reached = version;
    }
    Ok((done, reached))
}

/// Adds the file's path to an error that lacks it.
fn at(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(why) => StoreError::Unavailable(format!("{}: {why}", path.display())),
        other => other,
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(code, _) = &error else {
            return Self::Unavailable(error.to_string());
        };
        match code.code {
            ErrorCode::DiskFull => Self::Full,
            ErrorCode::ReadOnly => Self::ReadOnly,
            // The shared-memory file could not be made longer.
            _ if code.extended_code == ffi::SQLITE_IOERR_SHMSIZE => Self::Full,
            ErrorCode::NotADatabase => {
                Self::Unavailable("the file is damaged, or not a store; restore a backup".into())
            }
            ErrorCode::DatabaseCorrupt => Self::Unavailable(format!("the file is damaged ({error}); restore a backup")),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use linkseal_base::clock::Timestamp;
    use linkseal_base::testing::Written;
    use tracing::level_filters::LevelFilter;

    use super::*;

    /// What is logged meanwhile.
    fn logged(work: impl FnOnce()) -> String {
        let written = Written::default();
        let logs = written.capture(LevelFilter::INFO);
        work();
        drop(logs);
        written.text()
    }

    #[test]
    fn a_step_that_fails_leaves_the_schema_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut opened = open(&dir.path().join("s.db")).unwrap();
        let known = i64::try_from(MIGRATIONS.len()).unwrap();
        let more = |step| MIGRATIONS.iter().copied().chain([step]).collect::<Vec<_>>();
        let bad = "CREATE TABLE half (id INTEGER); SELECT nothing FROM nowhere;";
        assert!(migrate(&mut opened.writer, &more(bad)).is_err());
        assert_eq!(schema_of(&opened.writer).unwrap(), known);
        let half = "SELECT count(*) FROM sqlite_schema WHERE name = 'half'";
        assert_eq!(
            opened.writer.query_row(half, [], |row| row.get::<_, i64>(0)).unwrap(),
            0
        );
        migrate(&mut opened.writer, &more("CREATE TABLE whole (id INTEGER);")).unwrap();
        assert!(matches!(
            schema_of(&opened.writer),
            Err(StoreError::Newer { found, .. }) if found == known + 1
        ));
    }

    #[test]
    fn a_start_with_an_empty_store_is_logged() {
        let dir = tempfile::tempdir().unwrap();
        let text = logged(|| drop(open(&dir.path().join("s.db")).unwrap()));
        assert!(text.contains("INFO") && text.contains("is new and empty"), "{text}");
    }

    #[test]
    fn a_store_of_the_first_schema_is_migrated_to_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let mut old = Connection::open(&path).unwrap();
        migrate(&mut old, &MIGRATIONS[..1]).unwrap();
        old.execute("INSERT INTO changes (name, certificate) VALUES ('a.example', 1)", [])
            .unwrap();
        // One that is renewed, and one that is retired.
        for (name, retired) in [("a.example", "null"), ("b.example", "\"2026-11-22T09:00:00Z\"")] {
            let record = format!(
                "{{\"retired\":{retired},\"ssl\":{{\"certificate\":{{\"renew_at\":\"2026-11-22T09:30:00.123Z\"}}}}}}"
            );
            old.execute(
                "INSERT INTO domains (name, tenant, reason, version, record) VALUES (?1, 'acme', 'ok', 1, ?2)",
                [name, record.as_str()],
            )
            .unwrap();
        }
        drop(old);
        let text = logged(|| drop(open(&path).unwrap()));
        let migrated = format!("from=1 to={}", MIGRATIONS.len());
        assert!(text.contains("WARN") && text.contains(&migrated), "{text}");
        let text = logged(|| drop(open(&path).unwrap()));
        assert_eq!(text, "", "it is neither new nor migrated");
        let opened = open(&path).unwrap();
        assert_eq!(
            usize::try_from(schema_of(&opened.writer).unwrap()).unwrap(),
            MIGRATIONS.len()
        );
        let kept: (String, Option<String>, i64) = opened
            .writer
            .query_row("SELECT name, slug, kills FROM changes", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .unwrap();
        assert_eq!(kept, ("a.example".into(), None, 0));
        let renewals: (i64, i64) = opened
            .writer
            .query_row("SELECT day, n FROM renewals", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        let day = Timestamp::parse_rfc3339("2026-11-22T00:00:00Z").unwrap().as_secs() / 86_400;
        assert_eq!(renewals, (day, 1));
    }
}
