//! What the event plane is told by the configuration (its `events` section).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use http::Uri;
use rustls::pki_types::CertificateDer;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{EventType, Privacy};

/// The settings of the journal and its sinks.
#[derive(Clone, Debug)]
pub struct EventSettings {
    /// The journal's directory; made when it is missing.
    pub dir: PathBuf,
    /// What an event has survived before the answer goes out.
    pub durability: Durability,
    /// How long delivered segments stay for replay.
    pub keep: Duration,
    /// The size of the journal beyond which its oldest segments go.
    pub max_bytes: u64,
    /// What of clients is kept.
    pub privacy: Privacy,
    /// Where events go.
    pub sinks: Vec<SinkSettings>,
}

/// What an event has survived before the answer goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// It is in the journal's queue.
    Queued = 0,
    /// The kernel has it: it survives the process.
    #[default]
    Written = 1,
    /// The disk has it: it survives the machine.
    Synced = 2,
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "queued" => Ok(Self::Queued),
            "written" => Ok(Self::Written),
            "synced" => Ok(Self::Synced),
            other => Err(format!("`{other}` is not one of queued, written, synced")),
        }
    }
}

/// One sink.
#[derive(Clone, Debug)]
pub struct SinkSettings {
    /// Its name: metrics carry it, its cursors are named after it. Letters, digits, `-`, `_`.
    pub name: String,
    /// The types of events it gets. `None`: all.
    pub types: Option<Vec<EventType>>,
    /// What it is.
    pub kind: SinkKind,
}

/// What a sink is.
#[derive(Clone, Debug)]
pub enum SinkKind {
    /// NDJSON files.
    File(FileSettings),
    /// Signed HTTP requests (Standard Webhooks).
    Webhook(WebhookSettings),
    /// A stream of NATS JetStream.
    Nats(NatsSettings),
}

/// The settings of a file sink.
#[derive(Clone, Debug, Default)]
pub struct FileSettings {
    /// Their path; `%Y %m %d %H %M` (UTC, of the event's time) and `%%` are filled in.
    pub path: String,
    /// The size at which a file is finished and the next one begun. `None`: only time does that.
    pub max_bytes: Option<u64>,
    /// Whether finished files are compressed (zstd).
    pub compress: bool,
    /// How long a file stays after its last event. `None`: for ever.
    pub keep: Option<Duration>,
}

/// The settings of a webhook.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Where requests go: http or https.
    pub url: Uri,
    /// What signs them: each does, so that secrets can be exchanged without a gap.
    pub secrets: Vec<WebhookSecret>,
    /// Events in a request at most.
    pub batch: usize,
    /// Certificates to trust beside the public ones.
    pub trust: Vec<CertificateDer<'static>>,
    /// Whether it may be in a network that is not public: otherwise no one who may change its DNS
    /// can point our requests into ours.
    pub allow_private: bool,
}

/// A secret that signs a webhook's requests.
#[derive(Clone)]
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

/// Shortest and longest secret of a webhook, in bytes (Standard Webhooks).
const WEBHOOK_SECRET: std::ops::RangeInclusive<usize> = 24..=64;

impl WebhookSecret {
    /// What a secret's file must hold, for messages.
    pub const WANTED: &str = "a secret as Standard Webhooks writes it: whsec_ and 24 to 64 random bytes in base64 \
         (such as from: echo whsec_$(openssl rand -base64 32))";

    /// Reads a secret from its text. `None`: it is not [`WebhookSecret::WANTED`].
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text.trim().strip_prefix("whsec_")?).ok()?;
        WEBHOOK_SECRET
            .contains(&bytes.len())
            .then(|| Self(Zeroizing::new(bytes)))
    }

    /// Its bytes, for signing.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// The settings of a stream of NATS JetStream.
#[derive(Clone, Debug)]
pub struct NatsSettings {
    /// A `nats` or `tls` URL.
    pub url: String,
    /// The subject.
    pub subject: String,
    /// How we log in.
    pub login: NatsLogin,
    /// Certificates to trust beside the public ones.
    pub trust: Vec<CertificateDer<'static>>,
}

/// How we log in at NATS.
#[derive(Clone, Debug)]
pub enum NatsLogin {
    /// Not at all.
    None,
    /// With a token.
    Token(SecretString),
    /// With a name and a password.
    User {
        /// The name.
        name: String,
        /// The password.
        password: SecretString,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_as_standard_webhooks_writes_them() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        assert_eq!(secret.bytes().len(), 24);
        assert_eq!(format!("{secret:?}"), "WebhookSecret(…)");
        let long = format!("whsec_{}", BASE64.encode([1; 65]));
        for bad in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_c2hvcnQ=",
            "whsec_!",
            &long,
        ] {
            assert!(WebhookSecret::parse(bad).is_none(), "{bad}");
        }
    }
}
