//! The command line.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::Fallible;

/// Clients at once, where the command line does not say: see the table in `main.rs`.
const HANDSHAKE_CLIENTS: usize = 16;
const KEPT_CONNECTIONS: usize = 64;
const HTTP2_CONNECTIONS: usize = 32;
const TAIL_CLIENTS: usize = 2;
const IDLE_CONNECTIONS: usize = 2000;
/// Length of a measurement, where the command line does not say, in seconds.
const SECONDS: f64 = 2.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Full,
    Resumed,
    Kept,
    Streams,
    Lone,
    Tail,
    Idle,
    First,
}

/// What a response must be.
#[derive(Clone)]
pub(crate) enum Expected {
    /// 200 with this body.
    Body(Vec<u8>),
    /// 302 to this URL.
    Location(String),
}

pub(crate) struct Arguments {
    pub(crate) mode: Mode,
    pub(crate) address: SocketAddr,
    /// SNI and Host.
    pub(crate) name: String,
    pub(crate) ca: PathBuf,
    pub(crate) paths: Vec<String>,
    pub(crate) expected: Expected,
    /// The server's processes.
    pub(crate) pids: Vec<String>,
    /// The directory of the file sink. `None`: events are not counted.
    pub(crate) delivered: Option<PathBuf>,
    /// How long requests are measured.
    pub(crate) time: Duration,
    /// Instead of `time`: until this file exists. `None`: `time` counts.
    pub(crate) until: Option<PathBuf>,
    pub(crate) clients: usize,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(body) => write!(f, "200 with `{}`", body.escape_ascii()),
            Self::Location(url) => write!(f, "302 to {url}"),
        }
    }
}

impl Arguments {
    /// `None` without a mode.
    pub(crate) fn parse(words: &[String]) -> Fallible<Option<Self>> {
        let (mode, clients) = match words.first().map(String::as_str) {
            Some("full") => (Mode::Full, HANDSHAKE_CLIENTS),
            Some("resumed") => (Mode::Resumed, HANDSHAKE_CLIENTS),
            Some("kept") => (Mode::Kept, KEPT_CONNECTIONS),
            Some("streams") => (Mode::Streams, HTTP2_CONNECTIONS),
            Some("lone") => (Mode::Lone, 1),
            Some("tail") => (Mode::Tail, TAIL_CLIENTS),
            Some("idle") => (Mode::Idle, IDLE_CONNECTIONS),
            Some("first") => (Mode::First, 1),
            _ => return Ok(None),
        };
        let option = |name: &str| words.iter().skip_while(|w| *w != name).nth(1).map(String::as_str);
        let required = |name: &str| option(name).ok_or_else(|| format!("{name} is required"));
        let paths: Vec<String> = std::fs::read_to_string(required("--paths")?)?
            .lines()
            .map(str::to_owned)
            .collect();
        if paths.is_empty() {
            return Err("--paths: the file is empty".into());
        }
        let seconds = option("--seconds").map_or(Ok(SECONDS), str::parse)?;
        Ok(Some(Self {
            mode,
            address: required("--addr")?.parse()?,
            name: required("--name")?.to_owned(),
            ca: required("--ca")?.into(),
            paths,
            expected: match option("--location") {
                Some(url) => Expected::Location(url.to_owned()),
                None => Expected::Body(std::fs::read(required("--body")?)?),
            },
            pids: option("--pids")
                .unwrap_or_default()
                .split(',')
                .filter(|p| !p.is_empty())
                .map(str::to_owned)
                .collect(),
            delivered: option("--delivered").map(PathBuf::from),
            time: Duration::from_secs_f64(seconds),
            until: option("--until").map(PathBuf::from),
            clients: option("--clients").map_or(Ok(clients), str::parse)?,
        }))
    }
}
