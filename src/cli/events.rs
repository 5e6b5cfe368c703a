//! `linkseal events`: new events and the state of the sinks through the admin API of a running edge; past
//! events from the journal's files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use http_body_util::BodyExt;
use linkseal_base::clock::{Clock, Timestamp};
use linkseal_config::{Config, ConfigDuration};
use linkseal_domain::DomainName;
use linkseal_event::{Replay, Selector};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::admin_client::{AdminClient, AdminOptions, query_value, read};
use super::{Failure, output};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print a running edge's events live, one JSON object per line. A broken stream resumes after the
    /// last event.
    Tail {
        #[command(flatten)]
        admin: AdminOptions,
        /// Only events of this domain.
        #[arg(long)]
        domain: Option<DomainName>,
        /// Events are printed as JSON with or without.
        #[arg(long, hide = true)]
        json: bool,
    },
    /// Print this node's events since a time, as far back as the journal reaches, one JSON object per line.
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
    /// Show the state of a running edge's sinks: lag, last error, next attempt, dead letters.
    Sinks {
        #[command(flatten)]
        admin: AdminOptions,
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Retry a sink now: ends its pause, and resumes a sink that its endpoint stopped (410).
    Retry {
        #[command(flatten)]
        admin: AdminOptions,
        /// The sink's name in the configuration.
        #[arg(long, value_name = "NAME")]
        sink: String,
        /// Print its previous state as JSON.
        #[arg(long)]
        json: bool,
    },
    /// List, replay or drop the events that a sink's receiver refused.
    #[command(subcommand)]
    DeadLetters(super::dead_letters::Command),
    /// Erase the events of a tenant or a message from this node's journal and file sinks. Stop the node first.
    #[command(group = clap::ArgGroup::new("whose").required(true).args(["tenant", "message"]))]
    Erase {
        /// All events of this tenant.
        #[arg(long)]
        tenant: Option<String>,
        /// All events of the message with this id.
        #[arg(long, value_name = "ID", value_parser = super::message_id)]
        message: Option<Uuid>,
        /// The configuration that names the journal and the sinks.
        #[arg(long, value_name = "FILE", default_value = "linkseal.toml")]
        config: PathBuf,
        /// Print what was erased as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// The start of a replay.
#[derive(Clone, Copy, Debug)]
pub(super) enum Since {
    Time(Timestamp),
    Ago(ConfigDuration),
}

/// The part of an event that `--domain` is compared with.
#[derive(Deserialize)]
struct Head {
    domain: Option<String>,
}

/// Bytes per write to stdout.
const CHUNK: usize = 64 << 10;

/// A stream is considered broken after this time without data: keep-alives come every 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// Pause before a broken stream is opened again.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest line of a stream, in bytes: an event has at most 1 MiB.
const LONGEST_LINE: usize = 2 << 20;

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Tail { admin, domain, .. } => tail(&AdminClient::new(&admin)?, domain.as_ref(), output::text).await,
        Command::Replay {
            from, domain, config, ..
        } => replay(from, domain.as_ref(), &config),
        Command::Erase {
            tenant,
            message,
            config,
            json,
        } => {
            let selector = tenant.map(Selector::Tenant).or(message.map(Selector::Message));
            let selector = selector.ok_or_else(|| Failure::Usage("give --tenant or --message".into()))?;
            erase(&selector, &config, json)
        }
        Command::Sinks { admin, json } => sinks(&AdminClient::new(&admin)?, json).await,
        Command::Retry { admin, sink, json } => {
            let path = format!("/v1/events/sinks/{}/retry", query_value(&sink));
            let before = AdminClient::new(&admin)?.post(&path, None).await?;
            if json {
                return output::json(&before);
            }
            output::line(&format!(
                "{sink} is being retried; `linkseal events sinks` shows the result"
            ))
        }
        Command::DeadLetters(command) => super::dead_letters::run(command).await,
    }
}

/// The fields of a sink that the table shows.
#[derive(Deserialize)]
struct Sink {
    name: String,
    kind: String,
    state: String,
    lag_events: u64,
    lag_seconds: u64,
    dead_letters: u64,
    next_attempt: Option<String>,
    last_error: Option<String>,
}

async fn sinks(client: &AdminClient, json: bool) -> Result<(), Failure> {
    let all = client.get("/v1/events/sinks").await?;
    if json {
        return output::json(&all);
    }
    let sinks: Vec<Sink> = read(all.get("sinks").unwrap_or(&Value::Null))?;
    let row = |s: &Sink| {
        [
            s.name.clone(),
            s.kind.clone(),
            s.state.clone(),
            s.lag_events.to_string(),
            format!("{} s", s.lag_seconds),
            s.dead_letters.to_string(),
            s.next_attempt.clone().unwrap_or_else(|| "-".into()),
            s.last_error.clone().unwrap_or_else(|| "-".into()),
        ]
    };
    let rows: Vec<_> = sinks.iter().map(row).collect();
    let heading = [
        "NAME",
        "KIND",
        "STATE",
        "LAG",
        "AGE",
        "DEAD LETTERS",
        "NEXT ATTEMPT",
        "LAST ERROR",
    ];
    output::text(&output::table(Some(heading), &rows))
}

/// Prints events until stdout is closed. Fails if the first stream cannot be opened.
async fn tail(
    client: &AdminClient,
    domain: Option<&DomainName>,
    mut print: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let path = domain.map_or("/v1/events".to_owned(), |d| {
        format!("/v1/events?domain={}", query_value(d.as_str()))
    });
    let mut lines = Lines::default();
    let mut body = client.stream(&path, None).await?;
    loop {
        let why = loop {
            match tokio::time::timeout(SILENCE, body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let events = lines.read(frame.data_ref().map_or(&[], |d| d))?;
                    if !events.is_empty() {
                        print(&events)?;
                    }
                }
                Ok(Some(Err(error))) => break error.to_string(),
                Ok(None) => break "the edge closed it".to_owned(),
                Err(_) => break format!("no data for {} s", SILENCE.as_secs()),
            }
        };
        eprintln!("linkseal: the event stream ended ({why}); reconnecting");
        lines.rest.clear();
        body = loop {
            tokio::time::sleep(PAUSE).await;
            match client.stream(&path, lines.last.as_deref()).await {
                Ok(body) => break body,
                Err(failure) => eprintln!("{failure}"),
            }
        };
    }
}

/// Parses an event stream (WHATWG HTML §9.2.6), as far as linkseal uses the format.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
    id: String,
    /// The id of the last event that was printed.
    last: Option<String>,
}

impl Lines {
    /// Takes the next bytes, and returns the data of the events they complete, one per line.
    fn read(&mut self, bytes: &[u8]) -> Result<String, Failure> {
        self.rest.extend_from_slice(bytes);
        let mut out = String::new();
        let mut at = 0;
        while let Some(end) = self.rest.get(at..).and_then(|r| r.iter().position(|b| *b == b'\n')) {
            let line = String::from_utf8_lossy(self.rest.get(at..at + end).unwrap_or_default()).into_owned();
            at += end + 1;
            if let Some(id) = line.strip_prefix("id: ") {
                id.clone_into(&mut self.id);
            } else if let Some(data) = line.strip_prefix("data: ") {
                out.push_str(data);
                out.push('\n');
                self.last = Some(self.id.clone());
            }
        }
        self.rest.drain(..at);
        if self.rest.len() > LONGEST_LINE {
            return Err(Failure::Failed(
                "the answer is not an event stream (a line is too long); check the address given with --admin".into(),
            ));
        }
        Ok(out)
    }
}

fn replay(from: Since, domain: Option<&DomainName>, config: &Path) -> Result<(), Failure> {
    let from = match from {
        Since::Time(time) => time,
        Since::Ago(span) => Clock::system().now().minus(span.get()),
    };
    let dir = Config::load(config)?.events.dir;
    let unreadable = |e: std::io::Error| {
        Failure::Failed(format!(
            "events.dir: the journal {} cannot be read ({e}); run this as the service's user",
            dir.display()
        ))
    };
    let mut chunk = String::with_capacity(CHUNK * 2);
    for record in Replay::open(&dir, from).map_err(unreadable)? {
        let record = record.map_err(unreadable)?;
        if domain.is_some_and(|domain| !is_of(&record.json, domain)) {
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

/// Erases, and prints what cannot be erased: events already delivered by webhook or NATS, and backups.
fn erase(selector: &Selector, config: &Path, json: bool) -> Result<(), Failure> {
    let settings = crate::app::event_settings(&Config::load(config)?).map_err(Failure::failed)?;
    let erased = linkseal_event::erase(&settings, None, selector).map_err(Failure::failed)?;
    if json {
        return output::json(&erased);
    }
    output::text(&format!(
        "{} events erased from the journal ({} segments) and {} from file sinks ({} files).\n\
         {} dead letters erased.\n\
         Events already delivered by webhook or NATS, and backups, are not erased.\n",
        erased.journal_events, erased.journal_segments, erased.file_events, erased.files, erased.dead_letters
    ))
}

fn is_of(json: &[u8], domain: &DomainName) -> bool {
    let head: Option<Head> = serde_json::from_slice(json).ok();
    head.and_then(|h| h.domain).is_some_and(|d| d == domain.as_str())
}

fn since(text: &str) -> Result<Since, String> {
    let time = Timestamp::parse_rfc3339(text).map(Since::Time);
    let ago = || text.parse().ok().map(Since::Ago);
    time.or_else(ago)
        .ok_or_else(|| "must be a time such as 2026-11-22T09:30:00Z, or how long ago, such as 2h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_starts_at_a_time_or_a_span_ago() {
        assert!(matches!(since("2026-11-22T09:30:00+01:00"), Ok(Since::Time(_))));
        assert!(matches!(since("2h"), Ok(Since::Ago(_))));
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn events_are_filtered_by_domain() {
        let name = "a.example".parse().unwrap();
        assert!(is_of(br#"{"type":"open","domain":"a.example","x":1}"#, &name));
        assert!(!is_of(br#"{"type":"open","domain":"b.example"}"#, &name));
        assert!(!is_of(br#"{"type":"open"}"#, &name));
    }

    #[test]
    fn a_stream_is_parsed_whatever_its_pieces() {
        let text =
            ": hello\n\nretry: 1000\n\nid: b:1\ndata: {\"a\":1}\n\n: \n\nid: b:2\ndata: {\"a\":2}\n\nid: b:3\nda";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let pieces = text.as_bytes().chunks(size);
            let out: String = pieces.map(|p| lines.read(p).unwrap()).collect();
            assert_eq!(out, "{\"a\":1}\n{\"a\":2}\n");
            assert_eq!(lines.last.as_deref(), Some("b:2"));
        }
        let endless = vec![b'x'; LONGEST_LINE + 1];
        assert!(Lines::default().read(&endless).is_err());
    }

    #[tokio::test]
    async fn a_broken_tail_resumes_after_the_last_event() {
        use std::sync::{Arc, Mutex};

        use axum::extract::State;

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        type Asked = Vec<(String, Option<String>)>;
        let asked: Arc<Mutex<Asked>> = Arc::default();
        let handler = async |State(asked): State<Arc<Mutex<Asked>>>, request: axum::extract::Request| {
            let last = request
                .headers()
                .get("last-event-id")
                .map(|v| v.to_str().unwrap().to_owned());
            let mut asked = asked.lock().unwrap();
            asked.push((request.uri().to_string(), last));
            format!("id: b:{0}\ndata: {{\"n\":{0}}}\n\nid: torn", asked.len())
        };
        let app = axum::Router::new().fallback(handler).with_state(asked.clone());
        let tasks = linkseal_base::shutdown::Tasks::new();
        tasks.spawn_until_stop(async move { axum::serve(listener, app).await.unwrap() });
        let mut printed = Vec::new();
        let name = "a.example".parse().unwrap();
        let client = AdminClient::at(base);
        let ended = tail(&client, Some(&name), |text| {
            printed.push(text.to_owned());
            if printed.len() == 3 {
                Err(Failure::OutputClosed)
            } else {
                Ok(())
            }
        });
        assert!(matches!(ended.await, Err(Failure::OutputClosed)));
        assert_eq!(printed, ["{\"n\":1}\n", "{\"n\":2}\n", "{\"n\":3}\n"]);
        let asked = asked.lock().unwrap().clone();
        let lasts: Vec<_> = asked.iter().map(|(_, last)| last.as_deref()).collect();
        assert_eq!(lasts, [None, Some("b:1"), Some("b:2")]);
        assert_eq!(asked[0].0, "/v1/events?domain=a.example");
        tasks.stop();
    }
}
