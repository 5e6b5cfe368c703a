//! `[acme]`: the certificate authorities, and when to order.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::edge::Edge;
use crate::findings::Findings;
use crate::paths::Paths;
use crate::values::{HttpProbeAddr, HttpUrl, InvalidValue, Limit, text_value};

/// The certificate authorities, and when certificates are ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// When certificates are ordered.
    pub issue: Issue,
    /// The CA's ACME directory (RFC 8555 §7.1.1).
    pub directory: HttpUrl,
    /// Contact addresses for the CA, as mailto: URLs.
    pub contact: Vec<Contact>,
    /// Whether you agree to the CA's terms of service. Must be true unless `issue` is "off".
    pub accept_terms: bool,
    /// PEM file of CA certificates to trust for the directory's TLS, in addition to the public ones.
    pub ca_file: Option<PathBuf>,
    /// External account binding (RFC 8555 §7.3.4), if the CA requires one.
    pub eab: Option<Eab>,
    /// The certificate profile to order. Without one: the CA's default.
    pub profile: Option<String>,
    /// How many orders run concurrently, over all CAs.
    pub max_concurrent_orders: NonZeroU32,
    /// The CA's rate limits. Change them if the CA has granted you others.
    pub limits: Limits,
    /// Whether the challenge URL is fetched from here before an order. The result is reported and does not prevent the order.
    pub preflight: bool,
    /// The address to fetch it from instead, if the edge's public addresses cannot be reached from inside (hairpin NAT). Without one: the addresses the name resolves to.
    pub preflight_address: Option<HttpProbeAddr>,
    /// During a migration: where challenge requests for names without an order here are forwarded. Without one they are answered with 404.
    pub challenge_upstream: Option<HttpUrl>,
    /// Fallback CAs, used in this order while those before them fail.
    pub fallback: Vec<Fallback>,
}

/// When certificates are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Issue {
    /// As soon as a name is registered and its DNS points here.
    #[default]
    OnRegister,
    /// At the first handshake or verification.
    OnDemand,
    /// Never; existing certificates are served.
    Off,
}

/// External account binding (RFC 8555 §7.3.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Eab {
    /// The key id from the CA.
    pub key_id: String,
    /// File with the MAC key from the CA, in base64url or base64.
    pub hmac_key_file: PathBuf,
}

/// Rate limits of a CA, as count/time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// New orders per account.
    pub orders_per_account: Limit,
    /// Certificates per registered domain (by the public suffix list).
    pub per_registered_domain: Limit,
    /// Failed validations per name.
    pub failed_per_name: Limit,
}

/// A fallback CA. Contact and all other keys are those of `[acme]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// The CA's ACME directory (RFC 8555 §7.1.1).
    pub directory: HttpUrl,
    /// Whether you agree to this CA's terms of service. Must be true.
    #[serde(default)]
    pub accept_terms: bool,
    /// PEM file of CA certificates to trust for the directory's TLS, in addition to the public ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// External account binding, if the CA requires one.
    #[serde(default)]
    pub eab: Option<Eab>,
    /// The certificate profile to order. Absent: the CA's default.
    #[serde(default)]
    pub profile: Option<String>,
    /// This CA's rate limits.
    #[serde(default)]
    pub limits: Limits,
}

/// A mailto: URL (RFC 6068) with one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact(String);

impl FromStr for Contact {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let address = text.strip_prefix("mailto:").ok_or(InvalidValue)?;
        let (user, host) = address.split_once('@').ok_or(InvalidValue)?;
        // RFC 8555 §7.3: no header fields and a single address.
        let fine = !user.is_empty()
            && !host.is_empty()
            && address
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b",?@".contains(&b) || b == b'@');
        if fine && !host.contains('@') {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue)
        }
    }
}

text_value!(
    Contact,
    "a URL such as \"mailto:ops@platform.example\"",
    "mailto:ops@platform.example"
);

/// Let's Encrypt's production directory.
const DEFAULT_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

impl Default for Acme {
    fn default() -> Self {
        #[allow(
            clippy::expect_used,
            reason = "a literal that is a URL; every test of the defaults runs it"
        )]
        let directory = DEFAULT_DIRECTORY.parse().expect("a URL");
        Self {
            issue: Issue::default(),
            directory,
            contact: Vec::new(),
            accept_terms: false,
            ca_file: None,
            eab: None,
            profile: None,
            max_concurrent_orders: NonZeroU32::MIN.saturating_add(15),
            limits: Limits::default(),
            preflight: true,
            preflight_address: None,
            challenge_upstream: None,
            fallback: Vec::new(),
        }
    }
}

/// The limits of Let's Encrypt: 300 orders per account and 3 hours, 50 certificates per registered domain and
/// 7 days, 5 failed validations per name and hour.
impl Default for Limits {
    fn default() -> Self {
        Self {
            orders_per_account: Limit::per_hours(300, 3),
            per_registered_domain: Limit::per_hours(50, 7 * 24),
            failed_per_name: Limit::per_hours(5, 1),
        }
    }
}

/// Hosts of the directories of public CAs, staging included.
const PUBLIC_CAS: [&str; 8] = [
    "acme-v02.api.letsencrypt.org",
    "acme-staging-v02.api.letsencrypt.org",
    "acme.zerossl.com",
    "dv.acme-v02.api.pki.goog",
    "dv.acme-v02.test-api.pki.goog",
    "acme.ssl.com",
    "api.buypass.com",
    "acme.digicert.com",
];

/// Whether a name is reserved for examples, tests or loopback (RFC 2606, RFC 6761).
fn is_example(host: &str) -> bool {
    const RESERVED: [&str; 7] = [
        "example",
        "test",
        "invalid",
        "localhost",
        "example.com",
        "example.net",
        "example.org",
    ];
    let below = |reserved: &str| {
        host.strip_suffix(reserved)
            .is_some_and(|h| h.is_empty() || h.ends_with('.'))
    };
    RESERVED.into_iter().any(below)
}

impl Acme {
    pub(crate) fn resolve(&mut self, paths: &Paths<'_>) {
        let eabs = self
            .eab
            .iter_mut()
            .chain(self.fallback.iter_mut().filter_map(|f| f.eab.as_mut()));
        eabs.for_each(|eab| paths.resolve(&mut eab.hmac_key_file));
        let files = self
            .ca_file
            .iter_mut()
            .chain(self.fallback.iter_mut().filter_map(|f| f.ca_file.as_mut()));
        files.for_each(|file| paths.resolve(file));
    }

    pub(crate) fn check(&self, found: &mut Findings<'_>) {
        if self.issue == Issue::Off {
            return;
        }
        if self.contact.is_empty() {
            found.warn(
                "acme.contact",
                "is empty: the CA cannot contact you about your certificates",
            );
        }
        self.check_directory("acme", &self.directory, self.accept_terms, found);
        for (i, fallback) in self.fallback.iter().enumerate() {
            let section = format!("acme.fallback[{i}]");
            self.check_directory(&section, &fallback.directory, fallback.accept_terms, found);
            let earlier = self
                .fallback
                .iter()
                .take(i)
                .map(|f| &f.directory)
                .chain([&self.directory]);
            if earlier.into_iter().any(|d| *d == fallback.directory) {
                found.problem(
                    &format!("{section}.directory"),
                    "repeats the directory of an earlier CA; use another CA's",
                );
            }
        }
    }

    /// Reports names copied from an example, which a public CA would refuse.
    pub(crate) fn check_names(&self, edge: &Edge, found: &mut Findings<'_>) {
        let directories = std::iter::once(&self.directory).chain(self.fallback.iter().map(|f| &f.directory));
        let is_public = |d: &HttpUrl| d.uri().host().is_some_and(|h| PUBLIC_CAS.contains(&h));
        if self.issue == Issue::Off || !directories.into_iter().any(is_public) {
            return;
        }
        let says = "is an example name, for which no public CA issues certificates; use the platform's own";
        if is_example(edge.name.as_str()) {
            found.problem("edge.name", says);
        }
        for (i, alias) in edge.aliases.iter().enumerate() {
            if is_example(alias.as_str()) {
                found.problem(&format!("edge.aliases[{i}]"), says);
            }
        }
        for (i, contact) in self.contact.iter().enumerate() {
            if contact.as_str().rsplit('@').next().is_some_and(is_example) {
                found.problem(
                    &format!("acme.contact[{i}]"),
                    "is an example address, which public CAs refuse; use one that the platform reads",
                );
            }
        }
    }

    fn check_directory(&self, section: &str, directory: &HttpUrl, accepted: bool, found: &mut Findings<'_>) {
        if !directory.is_https() {
            found.problem(
                &format!("{section}.directory"),
                "must be https (RFC 8555 §6.1), also for a CA on this machine",
            );
        }
        if !accepted {
            let off = if section == "acme" {
                ", or set acme.issue = \"off\" to serve existing certificates only"
            } else {
                ""
            };
            found.problem(
                &format!("{section}.accept_terms"),
                format!("must be true: read the terms of service that {directory} names and agree to them{off}"),
            );
        }
    }
}
