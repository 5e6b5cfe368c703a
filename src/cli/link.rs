//! `linkseal link`: keys and links by hand, for a first try and for support.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use http::Uri;
use linkseal_base::clock::Clock;
use linkseal_config::Config;
use linkseal_domain::cert::sealed::write_private;
use linkseal_link::{
    Destination, Finding, Inspection, KeyError, Kind, LinkKey, LinkKeys, Message, Minter, Pasted, Place, Served,
    decoded, explain, unwrapped, url,
};
use serde_json::json;
use uuid::Uuid;

use super::{Failure, output, whole};
use crate::app::wiring::{edge_names, link_keys};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key: 32 random bytes as 64 hexadecimal digits.
    Keygen {
        /// Write it to a new file that only you can read. Default: print it.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Print it as JSON.
        #[arg(long, conflicts_with = "out")]
        json: bool,
    },
    /// Make the URL of a message's open pixel.
    Open {
        #[command(flatten)]
        mint: Mint,
    },
    /// Make a click link.
    Click {
        #[command(flatten)]
        mint: Mint,
        /// The destination.
        #[arg(long, value_parser = destination)]
        url: String,
        /// The link's number in the message.
        #[arg(long, default_value_t = 1, value_parser = whole::<u16>(0..=0xffff))]
        link: u16,
    },
    /// Make an unsubscribe link.
    Unsubscribe {
        #[command(flatten)]
        mint: Mint,
        /// The number of the list to unsubscribe from.
        #[arg(long, default_value_t = 1, value_parser = whole::<u16>(0..=0xffff))]
        list: u16,
    },
    /// Decode a link and explain why it does or does not work.
    Inspect {
        /// The link as it is in the message, or its token.
        link: String,
        /// The file of the key it was made with. Without one, the link is decoded and not verified.
        #[arg(long)]
        key_file: Option<PathBuf>,
        /// The id of that key.
        #[arg(long, default_value_t = 1, value_parser = whole::<u8>(0..=0xff))]
        key_id: u8,
        /// The edge's configuration: its keys with their revocations, links.prefix and links.max_age. Stored
        /// redirects and kill switches are checked by POST /v1/links/inspect only.
        #[arg(long, conflicts_with_all = ["key_file", "key_id"])]
        config: Option<PathBuf>,
        /// A tenant to try; may be repeated. Default: the link's host, because a domain's name is its default tenant.
        #[arg(long)]
        tenant: Vec<String>,
        /// Print the outcome as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// The inputs of every link.
#[derive(Debug, Args)]
pub(super) struct Mint {
    /// The file of the key.
    #[arg(long)]
    key_file: PathBuf,
    /// The id of the key.
    #[arg(long, default_value_t = 1, value_parser = whole::<u8>(0..=0xff))]
    key_id: u8,
    /// Scheme, domain and, if the edge has one, links.prefix: https://links.customer.example
    #[arg(long, value_parser = base)]
    base: Base,
    /// The tenant. Default: the domain's own name, as for a domain registered without a tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// The message's id: a UUID or 32 hexadecimal digits. Default: a new UUIDv7.
    #[arg(long, value_parser = super::message_id)]
    message_id: Option<Uuid>,
    /// Print URL, token and message id as JSON.
    #[arg(long)]
    json: bool,
}

/// Scheme, host and prefix of links.
#[derive(Clone, Debug)]
struct Base {
    text: String,
    host: String,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Keygen { out: Some(file), .. } => {
            let key = LinkKey::generate();
            write_private(&file, format!("{}\n", key.as_str()).as_bytes()).map_err(|e| no_key_file(&file, &e))
        }
        Command::Keygen { json: true, .. } => output::json(&json!({"key": LinkKey::generate().as_str()})),
        Command::Keygen { .. } => output::line(&LinkKey::generate()),
        Command::Open { mint } => mint.link(Kind::Open, |minter, message| Ok(minter.open(message))),
        Command::Click { mint, url, link } => mint.link(Kind::Click, |minter, message| {
            let destination = Destination::new(&url).map_err(|e| Failure::Usage(format!("--url: {e}")))?;
            Ok(minter.click(message, link, &destination))
        }),
        Command::Unsubscribe { mint, list } => mint.link(Kind::Unsubscribe, |minter, message| {
            Ok(minter.unsubscribe(message, list))
        }),
        Command::Inspect {
            link,
            key_file,
            key_id,
            config,
            tenant,
            json,
        } => {
            let bad = |e: KeyError| Failure::Usage(e.to_string());
            let (keys, config) = match (config, key_file) {
                (Some(file), _) => {
                    let config = Config::load(&file)?;
                    (link_keys(&config).map_err(bad)?, Some(config))
                }
                (None, Some(file)) => {
                    let key = LinkKey::from_file(key_id, &file).map_err(bad)?;
                    (LinkKeys::new([key]).map_err(bad)?, None)
                }
                (None, None) => (LinkKeys::none(), None),
            };
            let inner = unwrapped(&link);
            let (link, around) = match &inner {
                Some((inner, around)) => (inner, Some(around.as_str())),
                None => (&link, None),
            };
            inspect(link, around, &keys, config.as_ref(), tenant, json)
        }
    }
}

/// The error for a key file that cannot be written.
fn no_key_file(file: &Path, error: &io::Error) -> Failure {
    let file = file.display();
    Failure::Failed(match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{file} already exists, and a key file is never overwritten: give another name")
        }
        _ => format!("{file} cannot be written ({error}): give a file in a folder that this user may write to"),
    })
}

impl Mint {
    fn link(
        &self,
        kind: Kind,
        token: impl FnOnce(&Minter, &Message) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        let key = LinkKey::from_file(self.key_id, &self.key_file).map_err(|e| Failure::Usage(e.to_string()))?;
        let now = Clock::system().now();
        let message = Message {
            id: self.message_id.unwrap_or_else(Uuid::now_v7),
            issued_at: u32::try_from(now.as_secs())
                .map_err(|_| Failure::failed("the clock is past 2106, the end of link format v1: set the clock"))?,
        };
        let minter = Minter::new(&key, self.tenant.as_deref().unwrap_or(&self.base.host));
        let token = token(&minter, &message)?;
        let url = url(&self.base.text, kind, &token);
        if self.json {
            return output::json(&json!({"url": url, "token": token, "message_id": message.id}));
        }
        output::line(&url)
    }
}

/// Where the tenants to try come from. A domain's tenant is in the edge's store, which is not read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tenant {
    /// `--tenant`.
    Given,
    /// The link's path, as on edge.name.
    InPath,
    /// The link's host: a domain's default tenant.
    OfHost,
}

impl Tenant {
    /// Adds to the explanation for which tenant the link is valid, or which tenants were tried.
    fn limit(self, found: &mut Inspection, tried: &[&str]) {
        let text = &mut found.explanation;
        match (self, found.finding, &found.tenant) {
            (Self::Given | Self::OfHost, Finding::Valid, Some(tenant)) => {
                *text = text.replacen(
                    "the link is valid",
                    &format!("the link is valid for tenant {tenant}"),
                    1,
                );
                text.push_str(&format!(
                    "; the edge serves it only on domains whose tenant is or was {tenant}"
                ));
            }
            (Self::OfHost, Finding::Forged, _) => {
                let tried = tried
                    .first()
                    .map_or("no tenant".to_owned(), |t| format!("only tenant {t}"));
                text.push_str(&format!(
                    "; {tried} was tried: if the domain has another tenant, name it with --tenant"
                ));
            }
            _ => {}
        }
    }
}

fn inspect(
    link: &str,
    around: Option<&str>,
    keys: &LinkKeys,
    config: Option<&Config>,
    tenants: Vec<String>,
    json: bool,
) -> Result<(), Failure> {
    let pasted = Pasted::of(link);
    let host = pasted.name();
    let prefix = config.map(|config| config.links.prefix.as_str());
    // On edge.name the tenant is in the path.
    let in_path = pasted.link(prefix).and_then(|link| link.tenant);
    let of_path = in_path.and_then(decoded).map(Cow::into_owned);
    let tenant = match (tenants.is_empty(), &of_path) {
        (false, _) => Tenant::Given,
        (true, Some(_)) => Tenant::InPath,
        (true, None) => Tenant::OfHost,
    };
    let tenants = if tenants.is_empty() {
        of_path.or(host.clone()).into_iter().collect()
    } else {
        tenants
    };
    let tenants: Vec<&str> = tenants.iter().map(String::as_str).collect();
    let mut found = explain(link, prefix, keys, &tenants, []);
    if let Some(config) = config {
        let names = edge_names(config);
        let is_edge = host.is_some_and(|host| names.contains(&host));
        found = found.as_served(
            link,
            &Served {
                now: Clock::system().now().unix(),
                max_age: config.links.max_age.map(|age| age.get()),
                prefix: config.links.prefix.as_str(),
                place: if is_edge { Place::Edge } else { Place::Unknown },
                is_served: None,
                kills: None,
            },
        );
    }
    tenant.limit(&mut found, &tenants);
    let found = found.inside(around);
    // Without a key the link is only decoded: its key is unknown in any case.
    let right = found.valid || (keys.is_empty() && found.finding == Finding::UnknownKey);
    let outcome = if right { Ok(()) } else { Err(Failure::NotRight) };
    if json {
        return output::json(&found).and(outcome);
    }
    output::line(&found.explanation)?;
    // The fields that are known, as the API names them.
    let fields = serde_json::to_value(&found).map_err(Failure::failed)?;
    let known = fields
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, value)| *name != "explanation" && !value.is_null());
    let rows: Vec<_> = known
        .map(|(name, value)| {
            [
                format!("{name}:"),
                value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            ]
        })
        .collect();
    output::text(&output::table(None, &rows)).and(outcome)
}

fn base(text: &str) -> Result<Base, String> {
    let text = text.trim_end_matches('/');
    const ALLOWED: &str = "must be scheme and host, such as https://links.customer.example";
    let uri: Uri = text.parse().map_err(|_| ALLOWED)?;
    let fine = matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none();
    let host = uri.host().filter(|_| fine).ok_or(ALLOWED)?;
    Ok(Base {
        text: text.to_owned(),
        host: host.to_ascii_lowercase(),
    })
}

fn destination(text: &str) -> Result<String, String> {
    Destination::new(text)
        .map(|destination| destination.as_str().to_owned())
        .map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inspection_says_for_which_tenant() {
        let key = || LinkKey::from_hex(1, &"07".repeat(32)).unwrap();
        let keys = LinkKeys::new([key()]).unwrap();
        let message = Message {
            id: Uuid::now_v7(),
            issued_at: 1_800_000_000,
        };
        let of = |tenant: &str| {
            let token = Minter::new(&key(), tenant).open(&message);
            url("https://links.customer.example", Kind::Open, &token)
        };
        let explained = |link: &str, tenant: Tenant, tried: &str| {
            let mut found = explain(link, None, &keys, &[tried], []);
            tenant.limit(&mut found, &[tried]);
            found.explanation
        };
        let host = "links.customer.example";
        assert_eq!(
            explained(&of("acme"), Tenant::Given, "acme"),
            "the link is valid for tenant acme; the edge serves it only on domains whose tenant is or was acme"
        );
        let valid = explained(&of(host), Tenant::OfHost, host);
        assert!(valid.contains("valid for tenant links.customer.example;"), "{valid}");
        assert_eq!(explained(&of("acme"), Tenant::InPath, "acme"), "the link is valid");
        let forged = explained(&of("acme"), Tenant::OfHost, host);
        assert!(
            forged.contains("only tenant links.customer.example was tried"),
            "{forged}"
        );
        assert!(forged.contains("--tenant"), "{forged}");
        let forged = explained(&of("acme"), Tenant::Given, "other");
        assert!(!forged.contains("--tenant"), "{forged}");
    }
}
