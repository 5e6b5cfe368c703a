//! Prepares the directory of a `linkseal demo` for `peers/run.sh`.
//!
//! `prepare export DIR NAME OUT` writes a domain's certificate and key to `OUT/chain.pem` and
//! `OUT/key.pem`, so that the peers serve the same certificate. `prepare links DIR NAME N URL OUT` writes the
//! paths of N messages' links to `OUT/opens` and `OUT/clicks`, one a line. `prepare domains DIR N` registers N
//! domains in its store. Without arguments the program exits at once, so that `cargo bench` does not hang.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use linkseal_base::clock::Clock;
use linkseal_domain::cert::sealed::{Sealer, write_private};
use linkseal_domain::record::Origin;
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_link::{Destination, LinkKey, Message, Minter};
use linkseal_store::prelude::*;
use linkseal_store::sqlite::SqliteStore;
use linkseal_store::{Creation, StoreError};
use uuid::Uuid;

/// Concurrent registrations: as many as the store commits in one transaction.
const CONCURRENT: usize = 256;
/// Characters per line of PEM (RFC 7468 §2).
const PEM_LINE: usize = 64;

/// Age of the messages in `links`, in seconds.
const MESSAGE_AGE: i64 = 3600;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match *words.as_slice() {
        ["export", dir, name, out] => runtime.block_on(export(dir.as_ref(), name, out.as_ref())),
        ["links", dir, name, count, url, out] => links(dir.as_ref(), name, count.parse()?, url, out.as_ref()),
        ["domains", dir, count] => runtime.block_on(domains(dir.as_ref(), count.parse()?)),
        _ => {
            println!("usage: prepare export DIR NAME OUT | links DIR NAME COUNT URL OUT | domains DIR COUNT");
            Ok(())
        }
    }
}

async fn export(dir: &Path, name: &str, out: &Path) -> anyhow::Result<()> {
    let store = SqliteStore::open(dir.join("linkseal.db"), None)?;
    let sealer = Sealer::from_file(&key_file(dir)?, false)?;
    let stored = store.certificate(&DomainName::parse(name)?).await?;
    let stored = stored.with_context(|| format!("{name} has no certificate"))?;
    let key = sealer.open(&format!("certificates/{name}"), &stored.sealed_key)?;
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    for line in STANDARD.encode(key.as_slice()).as_bytes().chunks(PEM_LINE) {
        pem.push_str(std::str::from_utf8(line)?);
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    write_private(&out.join("key.pem"), pem.as_bytes())?;
    std::fs::write(out.join("chain.pem"), stored.chain_pem)?;
    Ok(())
}

/// The sealing key's file, from the configuration in the directory.
fn key_file(dir: &Path) -> anyhow::Result<std::path::PathBuf> {
    let config = linkseal_config::Config::load(&dir.join("linkseal.toml"))?;
    Ok(config.store.key_path().0)
}

/// Links of a tenant with the domain's name, in messages sent an hour ago.
fn links(dir: &Path, name: &str, count: usize, url: &str, out: &Path) -> anyhow::Result<()> {
    let secret = std::fs::read_to_string(dir.join("link-1.key"))?;
    let minter = Minter::new(&LinkKey::from_hex(1, secret.trim())?, name);
    let destination = Destination::new(url)?;
    let issued_at = u32::try_from(Clock::system().now().as_secs() - MESSAGE_AGE)?;
    let (mut opens, mut clicks) = (String::new(), String::new());
    for _ in 0..count {
        let message = Message {
            id: Uuid::new_v4(),
            issued_at,
        };
        opens.push_str(&format!("/o/{}.gif\n", minter.open(&message)));
        clicks.push_str(&format!("/c/{}\n", minter.click(&message, 1, &destination)));
    }
    std::fs::write(out.join("opens"), opens)?;
    std::fs::write(out.join("clicks"), clicks)?;
    Ok(())
}

async fn domains(dir: &Path, count: usize) -> anyhow::Result<()> {
    let store = Arc::new(SqliteStore::open(dir.join("linkseal.db"), None)?);
    let now = Clock::system().now();
    stream::iter(0..count)
        .map(|n| {
            let store = Arc::clone(&store);
            async move {
                let name = DomainName::parse(&format!("links.customer-{n}.example"))?;
                let record = DomainRecord::new(name, None, Origin::Registered, now);
                let new = Creation {
                    record,
                    timeline: Vec::new(),
                    audit: None,
                };
                match store.create(new).await {
                    Ok(_) | Err(StoreError::Exists) => Ok(()),
                    Err(error) => Err(anyhow::Error::from(error)),
                }
            }
        })
        .buffer_unordered(CONCURRENT)
        .try_collect::<()>()
        .await
}
