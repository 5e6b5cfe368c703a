//! `linkseal events`: what this node has written into its journal.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Deserialize;

use super::{Failure, output};
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Span};
use crate::domain::DomainName;
use crate::event::Replay;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print this node's events since a time, as far back as the journal is kept: a JSON object a line.
    Replay {
        /// A time such as 2026-11-22T09:30:00Z, or how long ago, such as 2h.
        #[arg(long, value_parser = since)]
        from: Since,
        /// Only events of this domain.
        #[arg(long)]
        domain: Option<DomainName>,
        /// The configuration that names the journal.
        #[arg(long, value_name = "FILE", default_value = "linkseal.toml")]
        config: PathBuf,
        /// Events are printed as JSON with or without.
        #[arg(long, hide = true)]
        json: bool,
    },
}

/// From when on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Since {
    Time(Timestamp),
    Ago(Span),
}

/// What a filter looks at.
#[derive(Deserialize)]
struct Head {
    domain: Option<String>,
}

/// Bytes that are printed at once.
const CHUNK: usize = 64 << 10;

pub(super) fn run(command: Command) -> Result<(), Failure> {
    let Command::Replay {
        from, domain, config, ..
    } = command;
    let from = match from {
        Since::Time(time) => time,
        Since::Ago(span) => Clock::system().now().minus(span.get()),
    };
    let dir = Config::load(&config)?.events.dir;
    let unreadable = |e: std::io::Error| Failure::Failed(format!("the journal {} cannot be read: {e}", dir.display()));
    let mut chunk = String::with_capacity(CHUNK * 2);
    for record in Replay::open(&dir, from).map_err(unreadable)? {
        let record = record.map_err(unreadable)?;
        if domain.as_ref().is_some_and(|domain| !is_of(&record.json, domain)) {
            continue;
        }
        chunk.push_str(&String::from_utf8_lossy(&record.json));
        chunk.push('\n');
        if chunk.len() >= CHUNK {
            output::text(&chunk)?;
            chunk.clear();
        }
    }
    output::text(&chunk)
}

fn is_of(json: &[u8], domain: &DomainName) -> bool {
    let head: Option<Head> = serde_json::from_slice(json).ok();
    head.and_then(|h| h.domain).is_some_and(|d| d == domain.as_str())
}

fn since(text: &str) -> Result<Since, String> {
    let time = Timestamp::parse_rfc3339(text).map(Since::Time);
    let ago = || text.parse().ok().map(Since::Ago);
    time.or_else(ago)
        .ok_or_else(|| "give a time such as 2026-11-22T09:30:00Z, or how long ago, such as 2h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_spans() {
        assert!(matches!(since("2026-11-22T09:30:00+01:00"), Ok(Since::Time(_))));
        assert!(matches!(since("2h"), Ok(Since::Ago(_))));
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn events_of_a_domain() {
        let name = "a.example".parse().unwrap();
        assert!(is_of(br#"{"type":"open","domain":"a.example","x":1}"#, &name));
        assert!(!is_of(br#"{"type":"open","domain":"b.example"}"#, &name));
        assert!(!is_of(br#"{"type":"open"}"#, &name));
    }
}
