//! The settings of the event plane: the `events` section of the configuration.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use http::Uri;
use rustls::pki_types::CertificateDer;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::event_type::EventType;
use crate::privacy::Privacy;

/// The settings of the journal and its sinks.
#[derive(Clone, Debug)]
pub struct EventSettings {
    /// The journal's directory; created if missing.
    pub dir: PathBuf,
    /// How durable an event is before its request is answered.
    pub durability: Durability,
    /// How long delivered segments are kept for replay.
    pub keep: Duration,
    /// The journal's size beyond which its oldest segments are removed, in bytes.
    pub max_bytes: u64,
    /// What events keep of clients.
    pub privacy: Privacy,
    /// Where events are delivered.
    pub sinks: Vec<SinkSettings>,
}

/// How durable an event is before its request is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// In the journal's queue only.
    Queued = 0,
    /// Written to the kernel: survives a crash of the process.
    #[default]
    Written = 1,
    /// Synced to disk: survives a power failure.
    Synced = 2,
}

/// One sink.
#[derive(Clone, Debug)]
pub struct SinkSettings {
    /// Its name in metrics and file names; see [`crate::sink::is_name`].
    pub name: String,
    /// The event types it gets; `None` for all.
    pub types: Option<Vec<EventType>>,
    /// Its kind, with the settings of that kind.
    pub kind: SinkKind,
}

/// The kinds of sinks.
#[derive(Clone, Debug)]
pub enum SinkKind {
    /// NDJSON files.
    File(FileSettings),
    /// Signed HTTP requests (Standard Webhooks).
    Webhook(WebhookSettings),
    /// A NATS JetStream stream.
    Nats(NatsSettings),
}

/// The settings of a file sink.
#[derive(Clone, Debug, Default)]
pub struct FileSettings {
    /// The path of its files, with `%Y %m %d %H %M` (the event's time in UTC) and `%%`.
    pub path: String,
    /// The size at which the next file is begun, in bytes; `None` for no limit.
    pub max_bytes: Option<u64>,
    /// Whether finished files are compressed with zstd.
    pub compress: bool,
    /// How long a file is kept after its last event; `None` to keep it indefinitely.
    pub keep: Option<Duration>,
}

/// The settings of a webhook.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// An http or https URL.
    pub url: Uri,
    /// Every secret signs every request, so that secrets can be rotated without a gap.
    pub secrets: Vec<WebhookSecret>,
    /// Most events in a request.
    pub batch: usize,
    /// CA certificates trusted in addition to the public ones.
    pub trust: Vec<CertificateDer<'static>>,
    /// Whether its address may be private. If not, a change of its DNS records cannot direct our
    /// requests into the internal network.
    pub allow_private: bool,
}

/// A secret that signs a webhook's requests.
#[derive(Clone)]
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

/// Lengths of a webhook's secret, in bytes (Standard Webhooks).
const WEBHOOK_SECRET: std::ops::RangeInclusive<usize> = 24..=64;

impl WebhookSecret {
    /// What a secret file must contain, for error messages.
    pub const WANTED: &str = "a Standard Webhooks secret: whsec_ followed by 24 to 64 random bytes in base64 \
         (create one with: echo whsec_$(openssl rand -base64 32))";

    /// Parses a secret; `None` when it is not [`WebhookSecret::WANTED`].
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text.trim().strip_prefix("whsec_")?).ok()?;
        WEBHOOK_SECRET
            .contains(&bytes.len())
            .then(|| Self(Zeroizing::new(bytes)))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// The settings of a NATS sink.
#[derive(Clone, Debug)]
pub struct NatsSettings {
    /// A nats or tls URL.
    pub url: String,
    /// The subject that events are published to.
    pub subject: String,
    /// The credentials.
    pub login: NatsLogin,
    /// CA certificates trusted in addition to the public ones.
    pub trust: Vec<CertificateDer<'static>>,
}

/// Credentials for NATS.
#[derive(Clone, Debug)]
pub enum NatsLogin {
    /// No authentication.
    None,
    /// A token.
    Token(SecretString),
    /// A user name and a password.
    User {
        /// The user name.
        name: String,
        /// The password.
        password: SecretString,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_those_of_standard_webhooks() {
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
