//! `[events]`: the journal, and the sinks that events are delivered to.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use linkseal_event::{Durability, EventType, IpPrivacy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::findings::Findings;
use crate::paths::Paths;
use crate::values::{ByteSize, ConfigDuration, HttpUrl, InvalidValue, Label, text_value, written_as_text};

/// The journal, and the sinks that events are delivered to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// The journal's directory. Changes need a restart.
    pub dir: PathBuf,
    /// How durable an event is before its request is answered.
    pub durability: Durability,
    /// How long delivered events stay in the journal for replay.
    pub keep: ConfigDuration,
    /// The size limit of the journal. Beyond it the oldest events are dropped, with a metric and an error in the log. At least 64MiB.
    pub max_bytes: ByteSize,
    /// How much of the client's IP address events contain.
    pub ip: IpPrivacy,
    /// Whether events contain the User-Agent. Verdicts use it in any case.
    pub user_agent: bool,
    /// Whether events contain the Referer.
    pub referer: bool,
    /// Whether the headers DNT: 1 and Sec-GPC: 1 are honoured.
    pub dnt: OptOut,
    /// File of known networks for verdicts, one per line: network, class, label.
    pub networks_file: Option<PathBuf>,
    /// Where events are delivered, each sink at its own pace.
    pub sink: Vec<Sink>,
}

/// Whether a client's opt-out (DNT: 1, Sec-GPC: 1) is honoured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptOut {
    /// Opt-outs change nothing.
    #[default]
    Ignore,
    /// Events of such clients contain neither address nor User-Agent nor Referer.
    Honour,
}

/// A sink. Which of the keys after `types` apply depends on its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// The sink's name in logs, metrics and the file name of its cursor.
    pub name: Label,
    /// What kind of sink it is.
    pub kind: SinkKind,
    /// Which events it receives. Empty: all.
    #[serde(default)]
    pub types: Vec<EventType>,
    /// file: the path of the files, one JSON object per line; %Y, %m, %d, %H and %M are the event's time in UTC.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// file: the size at which a file is rotated to NAME.part-0001. Without one, files rotate by time only. At least 1MiB.
    #[serde(default)]
    pub max_bytes: Option<ByteSize>,
    /// file: how finished files are compressed. Without it they are not.
    #[serde(default)]
    pub compress: Option<Compression>,
    /// file: how long a file is kept after its last event. Without it, indefinitely.
    #[serde(default)]
    pub keep: Option<ConfigDuration>,
    /// webhook: an https URL (http only with allow_private). nats: a nats or tls URL.
    #[serde(default)]
    pub url: Option<SinkUrl>,
    /// webhook: files with the secrets that sign requests (Standard Webhooks: whsec_…). Requests carry a signature by each.
    #[serde(default)]
    pub secret_files: Vec<PathBuf>,
    /// webhook: events per request. Default: 500, at most 10000.
    #[serde(default)]
    pub batch: Option<NonZeroU32>,
    /// webhook: whether private addresses and plain http are allowed. Default: false.
    #[serde(default)]
    pub allow_private: Option<bool>,
    /// webhook, nats: PEM file of CA certificates to trust, in addition to the public ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// nats: the subject. Default: linkseal.events.
    #[serde(default)]
    pub subject: Option<Subject>,
    /// nats: the user name. Without one, `password_file` contains a token.
    #[serde(default)]
    pub user: Option<String>,
    /// nats: file with the password or token. Without one, the client does not authenticate.
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

/// The kind of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkKind {
    /// Files with one JSON object per line.
    File,
    /// Signed HTTP requests (Standard Webhooks).
    Webhook,
    /// A NATS JetStream stream.
    Nats,
}

/// The URL of a webhook or of a NATS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkUrl {
    Http(HttpUrl),
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

text_value!(
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
            ip: IpPrivacy::default(),
            user_agent: true,
            referer: true,
            dnt: OptOut::default(),
            networks_file: None,
            sink: Vec::new(),
        }
    }
}

/// The smallest journal: a few segments, so that dropping the oldest one never drops the newest.
const SMALLEST_JOURNAL: u64 = 64 << 20;
/// The smallest rotation size: smaller files would hold only a few events.
const SMALLEST_FILE: u64 = 1 << 20;
/// Default events per webhook request.
const WEBHOOK_BATCH: NonZeroU32 = match NonZeroU32::new(500) {
    Some(batch) => batch,
    None => NonZeroU32::MIN,
};
/// More would exceed the request size that endpoints accept.
const WEBHOOK_BATCH_MAX: u32 = 10_000;
/// The placeholders of a file sink's path.
const PLACEHOLDERS: [&str; 5] = ["%Y", "%m", "%d", "%H", "%M"];

impl Events {
    pub(crate) fn resolve(&mut self, paths: &Paths<'_>) {
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

    pub(crate) fn check(&self, found: &mut Findings<'_>) {
        if self.max_bytes.bytes() < SMALLEST_JOURNAL {
            found.problem("events.max_bytes", "must be at least 64MiB");
        }
        let mut names = BTreeSet::new();
        for (i, sink) in self.sink.iter().enumerate() {
            if !names.insert(&sink.name) {
                found.problem(
                    &format!("events.sink[{i}].name"),
                    format!("\"{}\" is the name of an earlier sink; names must be unique", sink.name),
                );
            }
            if !linkseal_event::sink::is_name(sink.name.as_str()) {
                found.problem(
                    &format!("events.sink[{i}].name"),
                    format!(
                        "\"{}\" must not end in \".new\", which marks unfinished files",
                        sink.name
                    ),
                );
            }
            sink.check(&format!("events.sink[{i}]"), found);
            self.check_path(i, sink, found);
        }
    }

    /// Warns of a file sink whose files others write or read too.
    fn check_path(&self, i: usize, sink: &Sink, found: &mut Findings<'_>) {
        let Some(path) = &sink.path else { return };
        let key = format!("events.sink[{i}].path");
        if path.starts_with(&self.dir) {
            found.warn(
                &key,
                "is below events.dir, where the journal keeps its own files; use a path outside, such as \"archive/%Y-%m-%d.ndjson\"",
            );
        }
        if let Some(earlier) = self.sink.iter().take(i).find(|s| s.path.as_ref() == Some(path)) {
            found.warn(
                &key,
                format!(
                    "is the path of the sink \"{}\" too: both append to its files, rotate and delete them; give each its own",
                    earlier.name
                ),
            );
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
                "is missing; kind \"file\" needs it, such as \"archive/%Y-%m-%d.ndjson\"",
            ),
            Some(path) if !placeholders_are_known(path) => {
                found.problem(
                    &format!("{key}.path"),
                    format!("may contain only {} after a %", PLACEHOLDERS.join(", ")),
                );
            }
            Some(path) if self.keep.is_some() && !path.to_string_lossy().contains('%') => {
                found.problem(
                    &format!("{key}.keep"),
                    "needs a path with a time, such as \"archive/%Y-%m-%d.ndjson\": files are deleted as a whole",
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
                    "must be https; plain http needs allow_private = true",
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

    /// Events per webhook request.
    pub fn webhook_batch(&self) -> NonZeroU32 {
        self.batch.unwrap_or(WEBHOOK_BATCH)
    }

    pub fn nats_subject(&self) -> &str {
        self.subject.as_ref().map_or("linkseal.events", Subject::as_str)
    }
}

fn placeholders_are_known(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.match_indices('%')
        .all(|(at, _)| text.get(at..at + 2).is_some_and(|p| PLACEHOLDERS.contains(&p)))
}
