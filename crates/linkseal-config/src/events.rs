//! `[events]`: the journal, and the sinks events are delivered to.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Paths;
use super::check::Findings;
use super::text::{ByteSize, ConfigDuration, HttpUrl, InvalidValue, Label, written_as_text};

/// The journal, and the sinks events are delivered to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// The journal's folder. A change needs a restart.
    pub dir: PathBuf,
    /// How safe an event is before the request that made it is answered.
    pub durability: Durability,
    /// How long delivered parts of the journal stay for replay.
    pub keep: ConfigDuration,
    /// The journal's largest size; beyond it the oldest events go, counted and loud.
    pub max_bytes: ByteSize,
    /// How much of a client's address is kept.
    pub ip: IpDetail,
    /// Whether a client's User-Agent is kept. The verdict is made from it in any case.
    pub user_agent: bool,
    /// Whether a client's Referer is kept.
    pub referer: bool,
    /// What DNT: 1 and Sec-GPC: 1 change.
    pub dnt: OptOut,
    /// Networks that are known, for verdicts: a network, a class and a label a line. Absent: none.
    pub networks_file: Option<PathBuf>,
    /// Where events are delivered to, each at its own pace.
    pub sink: Vec<Sink>,
}

/// How safe an event is before the request that made it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// In memory, about to be written.
    Queued,
    /// Written: survives the process.
    #[default]
    Written,
    /// Synced to the disk: survives the machine.
    Synced,
}

/// How much of a client's address is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IpDetail {
    /// All of it.
    Full,
    /// Its network: /24 of IPv4, /48 of IPv6.
    #[default]
    Truncated,
    /// Nothing.
    None,
}

/// What a client's wish not to be tracked (DNT: 1, Sec-GPC: 1) changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptOut {
    /// Nothing.
    #[default]
    Ignore,
    /// Neither address nor User-Agent nor Referer of such a client is kept; the event is.
    Honour,
}

/// Where events are delivered to. Which of the keys after `types` it takes depends on its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// Its name in logs, metrics and the cursor's file.
    pub name: Label,
    /// What it is.
    pub kind: SinkKind,
    /// Which events it gets. Empty: all.
    #[serde(default)]
    pub types: Vec<EventName>,
    /// file: where events are appended, one JSON object a line; %Y, %m, %d, %H and %M stand for the event's time in UTC.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// file: the size at which a file is put away as NAME.part-0001 and the next one begun. Absent: only time does that.
    #[serde(default)]
    pub max_bytes: Option<ByteSize>,
    /// file: how finished files are compressed. Absent: they are not.
    #[serde(default)]
    pub compress: Option<Compression>,
    /// file: how long a file stays after its last event. Absent: for ever.
    #[serde(default)]
    pub keep: Option<ConfigDuration>,
    /// webhook: an http or https URL. nats: a nats or tls URL.
    #[serde(default)]
    pub url: Option<SinkUrl>,
    /// webhook: files of the secrets that sign its requests (Standard Webhooks: whsec_…); each signs.
    #[serde(default)]
    pub secret_files: Vec<PathBuf>,
    /// webhook: events in a request at most. Absent: 500.
    #[serde(default)]
    pub batch: Option<NonZeroU32>,
    /// webhook: whether it may be in a network that is not public, and plain http. Absent: false.
    #[serde(default)]
    pub allow_private: Option<bool>,
    /// webhook, nats: PEM file of certificates to trust, beside the public ones. Absent: only those.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// nats: the subject. Absent: linkseal.events.
    #[serde(default)]
    pub subject: Option<Subject>,
    /// nats: who logs in with `password_file`. Absent: what that holds is a token.
    #[serde(default)]
    pub user: Option<String>,
    /// nats: file of the password or the token. Absent: no one logs in.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

/// How finished files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Zstandard, as the `zstd` command reads it.
    Zstd,
}

/// Kinds of sinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkKind {
    /// Files of one JSON object a line.
    File,
    /// HTTP requests signed as in Standard Webhooks.
    Webhook,
    /// A stream of NATS JetStream.
    Nats,
}

/// The type of an event, as in contract section 6.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventName(&'static str);

const EVENT_NAMES: [&str; 12] = [
    "open",
    "click",
    "redirect",
    "unsubscribe",
    "upstream",
    "verdict.corrected",
    "domain.ssl.issued",
    "domain.ssl.renewed",
    "domain.ssl.failed",
    "domain.ssl.expiring",
    "domain.ssl.expired",
    "domain.ssl.moved",
];

impl EventName {
    /// The word.
    pub fn as_str(&self) -> &'static str {
        self.0
    }
}

impl FromStr for EventName {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        EVENT_NAMES
            .iter()
            .find(|name| **name == text)
            .map(|name| Self(name))
            .ok_or(InvalidValue)
    }
}

impl std::fmt::Display for EventName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

written_as_text!(
    EventName,
    "one of \"open\", \"click\", \"redirect\", \"unsubscribe\", \"upstream\", \"verdict.corrected\", \
     \"domain.ssl.issued\", \"domain.ssl.renewed\", \"domain.ssl.failed\", \"domain.ssl.expiring\", \"domain.ssl.expired\", \"domain.ssl.moved\"",
    "click"
);

/// Where a webhook or a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkUrl {
    /// A webhook.
    Http(HttpUrl),
    /// A NATS server.
    Nats(String),
}

impl FromStr for SinkUrl {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if let Ok(url) = text.parse() {
            return Ok(Self::Http(url));
        }
        let uri: http::Uri = text.parse().map_err(|_| InvalidValue)?;
        let nats = matches!(uri.scheme_str(), Some("nats" | "tls"));
        let host = uri
            .authority()
            .is_some_and(|a| !a.host().is_empty() && !a.as_str().contains('@'));
        if nats && host {
            Ok(Self::Nats(text.to_owned()))
        } else {
            Err(InvalidValue)
        }
    }
}

impl std::fmt::Display for SinkUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http(url) => url.fmt(f),
            Self::Nats(url) => f.write_str(url),
        }
    }
}

written_as_text!(
    SinkUrl,
    "a URL with a host and without user:password@: http or https for a webhook, nats or tls for nats",
    "https://platform.example/hooks/tracking"
);

/// A NATS subject without wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(String);

impl Subject {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Subject {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let token = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_graphic() && b != b'*' && b != b'>');
        if text.split('.').all(token) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue)
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

written_as_text!(
    Subject,
    "a subject such as \"linkseal.events\" without wildcards",
    "linkseal.events"
);

impl Default for Events {
    fn default() -> Self {
        Self {
            dir: "events".into(),
            durability: Durability::default(),
            keep: ConfigDuration::hours(72),
            max_bytes: ByteSize::gib(10),
            ip: IpDetail::default(),
            user_agent: true,
            referer: true,
            dnt: OptOut::default(),
            networks_file: None,
            sink: Vec::new(),
        }
    }
}

/// The smallest journal: a few segments, so that dropping the oldest never drops the newest.
const SMALLEST_JOURNAL: u64 = 64 << 20;
/// The smallest file of a file sink: smaller ones would be made for every few events.
const SMALLEST_FILE: u64 = 1 << 20;
/// Events in a request of a webhook, unless configured.
const WEBHOOK_BATCH: NonZeroU32 = match NonZeroU32::new(500) {
    Some(batch) => batch,
    None => NonZeroU32::MIN,
};
/// Most of them: more do not fit into a request of a size that endpoints take.
const WEBHOOK_BATCH_MAX: u32 = 10_000;
/// What a file sink's path may hold after a `%`.
const PLACEHOLDERS: [&str; 5] = ["%Y", "%m", "%d", "%H", "%M"];

impl Events {
    pub(super) fn resolve(&mut self, paths: &Paths<'_>) {
        paths.resolve(&mut self.dir);
        self.networks_file.iter_mut().for_each(|path| paths.resolve(path));
        for sink in &mut self.sink {
            sink.path
                .iter_mut()
                .chain(&mut sink.secret_files)
                .chain(&mut sink.ca_file)
                .chain(&mut sink.password_file)
                .for_each(|path| paths.resolve(path));
        }
    }

    pub(super) fn check(&self, found: &mut Findings<'_>) {
        if self.max_bytes.bytes() < SMALLEST_JOURNAL {
            found.problem("events.max_bytes", "must be at least 64MiB");
        }
        let mut names = BTreeSet::new();
        for (i, sink) in self.sink.iter().enumerate() {
            if !names.insert(&sink.name) {
                found.problem(
                    &format!("events.sink[{i}].name"),
                    format!("\"{}\" is an earlier sink's name; each has its own", sink.name),
                );
            }
            sink.check(&format!("events.sink[{i}]"), found);
        }
    }
}

impl Sink {
    fn check(&self, key: &str, found: &mut Findings<'_>) {
        let kind = match self.kind {
            SinkKind::File => "file",
            SinkKind::Webhook => "webhook",
            SinkKind::Nats => "nats",
        };
        let given = [
            ("path", self.path.is_some(), &["file"][..]),
            ("max_bytes", self.max_bytes.is_some(), &["file"]),
            ("compress", self.compress.is_some(), &["file"]),
            ("keep", self.keep.is_some(), &["file"]),
            ("url", self.url.is_some(), &["webhook", "nats"]),
            ("secret_files", !self.secret_files.is_empty(), &["webhook"]),
            ("batch", self.batch.is_some(), &["webhook"]),
            ("allow_private", self.allow_private.is_some(), &["webhook"]),
            ("ca_file", self.ca_file.is_some(), &["webhook", "nats"]),
            ("subject", self.subject.is_some(), &["nats"]),
            ("user", self.user.is_some(), &["nats"]),
            ("password_file", self.password_file.is_some(), &["nats"]),
        ];
        for (name, _, kinds) in given
            .iter()
            .filter(|(_, given, kinds)| *given && !kinds.contains(&kind))
        {
            found.problem(
                &format!("{key}.{name}"),
                format!("is for kind {}, not for kind \"{kind}\"", kinds.join(" and ")),
            );
        }
        match self.kind {
            SinkKind::File => self.check_file(key, found),
            SinkKind::Webhook => self.check_webhook(key, found),
            SinkKind::Nats => self.check_nats(key, found),
        }
    }

    fn check_file(&self, key: &str, found: &mut Findings<'_>) {
        match &self.path {
            None => found.problem(
                &format!("{key}.path"),
                "is missing; kind \"file\" needs it, such as \"events/%Y-%m-%d.ndjson\"",
            ),
            Some(path) if !placeholders_are_known(path) => {
                found.problem(
                    &format!("{key}.path"),
                    format!("may hold only {} after a %", PLACEHOLDERS.join(", ")),
                );
            }
            Some(path) if self.keep.is_some() && !path.to_string_lossy().contains('%') => {
                found.problem(
                    &format!("{key}.keep"),
                    "needs a path with a time, such as \"events/%Y-%m-%d.ndjson\": a file goes as a whole",
                );
            }
            Some(_) => {}
        }
        if self.max_bytes.is_some_and(|size| size.bytes() < SMALLEST_FILE) {
            found.problem(&format!("{key}.max_bytes"), "must be at least 1MiB");
        }
    }

    fn check_webhook(&self, key: &str, found: &mut Findings<'_>) {
        match &self.url {
            Some(SinkUrl::Http(url)) if !url.is_https() && self.allow_private != Some(true) => {
                found.problem(
                    &format!("{key}.url"),
                    "must be https; plain http is for networks of one's own, with allow_private = true",
                );
            }
            Some(SinkUrl::Http(_)) => {}
            None | Some(SinkUrl::Nats(_)) => found.problem(
                &format!("{key}.url"),
                "must be an https URL, such as \"https://platform.example/hooks/tracking\", for kind \"webhook\"",
            ),
        }
        if self.secret_files.is_empty() {
            found.problem(
                &format!("{key}.secret_files"),
                "is missing; kind \"webhook\" signs its requests with the secrets in these files",
            );
        }
        if self.batch.is_some_and(|b| b.get() > WEBHOOK_BATCH_MAX) {
            found.problem(&format!("{key}.batch"), format!("must be at most {WEBHOOK_BATCH_MAX}"));
        }
    }

    fn check_nats(&self, key: &str, found: &mut Findings<'_>) {
        if !matches!(self.url, Some(SinkUrl::Nats(_))) {
            found.problem(
                &format!("{key}.url"),
                "must be a nats or tls URL, such as \"nats://127.0.0.1:4222\", for kind \"nats\"",
            );
        }
        if self.user.is_some() && self.password_file.is_none() {
            found.problem(&format!("{key}.password_file"), "is missing; `user` needs it");
        }
    }

    /// Events in a request of a webhook at most.
    pub fn webhook_batch(&self) -> NonZeroU32 {
        self.batch.unwrap_or(WEBHOOK_BATCH)
    }

    /// The subject of a NATS sink.
    pub fn nats_subject(&self) -> &str {
        self.subject.as_ref().map_or("linkseal.events", Subject::as_str)
    }
}

fn placeholders_are_known(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.match_indices('%')
        .all(|(at, _)| text.get(at..at + 2).is_some_and(|p| PLACEHOLDERS.contains(&p)))
}
