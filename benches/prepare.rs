//! Prepares the directory of a `linkseal demo` for `peers/run.sh`.
//!
//! `prepare export DIR NAME OUT` writes a domain's certificate and key to `OUT/chain.pem` and
//! `OUT/key.pem`, so that the peers serve the same certificate. `prepare links DIR NAME N URL OUT` writes the
//! paths of N messages' links to `OUT/opens` and `OUT/clicks`, one a line. `prepare domains DIR N` adds N issued
//! domains to its store. Without arguments the program exits at once, so that `cargo bench` does not hang.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use linkseal_base::clock::{Clock, Timestamp};
use linkseal_domain::cert::sealed::{Sealer, write_private};
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::{CertificateInfo, Reason};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_link::{Destination, LinkKey, Message, Minter};
use linkseal_store::prelude::*;
use linkseal_store::sqlite::SqliteStore;
use rusqlite::{Connection, params};
use uuid::Uuid;

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
        ["domains", dir, count] => domains(dir.as_ref(), count.parse()?),
        _ => {
            println!("usage: prepare export DIR NAME OUT | links DIR NAME COUNT URL OUT | domains DIR COUNT");
            Ok(())
        }
    }
}

async fn export(dir: &Path, name: &str, out: &Path) -> anyhow::Result<()> {
    let store = SqliteStore::open(dir.join("linkseal.db"), Clock::system(), None)?;
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

/// Registers issued domains at the file's level, in the order of their names and of their due times, so that
/// every index grows at its end: ten million take minutes instead of hours.
fn domains(dir: &Path, count: i64) -> anyhow::Result<()> {
    let file = dir.join("linkseal.db");
    // Creates the schema.
    drop(SqliteStore::open(&file, Clock::system(), None)?);
    let db = Connection::open(&file)?;
    // A crash costs the file, which is made again. WAL would write everything twice.
    db.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN")?;
    let now = Clock::system().now();
    let before: i64 = db.query_row("SELECT coalesce(max(seq), 0) FROM changes", [], |row| row.get(0))?;
    let mut added = 0i64;
    let mut days: BTreeMap<i64, i64> = BTreeMap::new();
    {
        let mut domain = db.prepare(
            "INSERT OR IGNORE INTO domains (name, tenant, reason, next_due, version, record, renew_day)
             VALUES (?1, ?1, 'ok', ?2, ?3, ?4, ?5)",
        )?;
        let mut counted = db.prepare("INSERT INTO counts (tenant, reason, n) VALUES (?1, 'ok', 1)")?;
        for n in 0..count {
            let name = DomainName::parse(&format!("links.customer-{n:08}.example"))?;
            // Renewals are spread over the month that begins in a month, as those of a grown fleet.
            let renew_at = now + MONTH + MONTH.mul_f64(n as f64 / count as f64);
            let record = issued(name, now, renew_at);
            let day = renew_at.as_secs().div_euclid(86_400);
            let due = record.next_due().map(Timestamp::as_millis);
            let json = serde_json::to_string(&record)?;
            if domain.execute(params![record.name.as_str(), due, before + n + 1, json, day])? > 0 {
                counted.execute([record.name.as_str()])?;
                added += 1;
                *days.entry(day).or_default() += 1;
            }
        }
    }
    let more = "ON CONFLICT DO UPDATE SET n = n + excluded.n";
    db.execute(
        &format!("INSERT INTO totals (reason, n) VALUES ('ok', ?1) {more}"),
        [added],
    )?;
    for (day, n) in days {
        db.execute(
            &format!("INSERT INTO renewals (day, n) VALUES (?1, ?2) {more}"),
            [day, n],
        )?;
    }
    // Versions come from this sequence: later ones must be higher.
    db.execute(
        "INSERT INTO changes (seq, name, certificate) VALUES (?1, NULL, 0)",
        [before + count + 1],
    )?;
    db.execute_batch("COMMIT")?;
    drop(db);
    // Otherwise the first commit of the start that is measured would write all of it to the disk.
    std::fs::File::open(&file)?.sync_all()?;
    Ok(())
}

/// A third of a certificate's life.
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// A domain whose certificate is renewed then. The certificate itself is not stored.
fn issued(name: DomainName, now: Timestamp, renew_at: Timestamp) -> DomainRecord {
    let text = name.to_string();
    let mut record = DomainRecord::new(name, None, Origin::Registered, now);
    record.ssl.reason = Reason::Ok;
    record.ssl.certificate = Some(CertificateInfo {
        not_before: now,
        not_after: renew_at + MONTH,
        obtained: Some(now),
        issuer: "E7".to_owned(),
        serial: "0512a5fcb6d1e7c4c7b5d5b08f0d6b3e9a41".to_owned(),
        sans: vec![text],
        ca: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
        ari_id: Some("rkie3IcdRKBv2qLlYHQEeMKcAIA.BRKl_LbR58THtdWwjw1rPppB".to_owned()),
        renew_at,
        // The CA is asked for nothing meanwhile.
        ari_check_at: None,
    });
    record.dns.checked = Some(now);
    record.dns.https = true;
    record.dns.verified = true;
    record
}
