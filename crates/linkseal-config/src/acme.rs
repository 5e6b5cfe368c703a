//! `[acme]`: where certificates come from, and when.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Paths;
use super::check::Findings;
use super::edge::Edge;
use super::text::{HttpProbeAddr, HttpUrl, InvalidValue, Limit, written_as_text};

/// Where certificates come from, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// When certificates are ordered.
    pub issue: Issue,
    /// The CA's ACME directory (RFC 8555 §7.1.1).
    pub directory: HttpUrl,
    /// Whom the CA may write to, as mailto: URLs.
    pub contact: Vec<Contact>,
    /// Whether you agree to the CA's terms of service. Must be true, unless issue is "off".
    pub accept_terms: bool,
    /// PEM file of certificates to trust for the directory, beside the public ones. Absent: the public ones only.
    pub ca_file: Option<PathBuf>,
    /// External account binding (RFC 8555 §7.3.4). Absent: the CA wants none.
    pub eab: Option<Eab>,
    /// The CA's certificate profile to order. Absent: the CA's default.
    pub profile: Option<String>,
    /// Orders on their way at once.
    pub max_concurrent_orders: NonZeroU32,
    /// The CA's limits, to be changed when it granted you others.
    pub limits: Limits,
    /// Whether the challenge's URL is tried from here before an order. What is found is reported, and forbids nothing.
    pub preflight: bool,
    /// Where names that point here are tried instead, when the edge's public addresses cannot be reached from inside (hairpin NAT). Absent: at what they resolve to.
    pub preflight_address: Option<HttpProbeAddr>,
    /// While moving in: where challenges for names without an order of ours are passed on to. Absent: 404.
    pub challenge_upstream: Option<HttpUrl>,
    /// The next CAs, in order, when the first fails.
    pub fallback: Vec<Fallback>,
}

/// When certificates are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Issue {
    /// As soon as a name is registered and its DNS is right.
    #[default]
    OnRegister,
    /// At the first handshake or verify.
    OnDemand,
    /// Never: what is held is served.
    Off,
}

/// External account binding (RFC 8555 §7.3.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Eab {
    /// The key's id, as the CA gave it.
    pub key_id: String,
    /// The file of the MAC key, as the CA gave it: base64url.
    pub hmac_key_file: PathBuf,
}

/// Limits of a CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// New orders of the account.
    pub orders_per_account: Limit,
    /// Certificates below one registered domain (as the public suffix list has it).
    pub per_registered_domain: Limit,
    /// Failed validations of one name.
    pub failed_per_name: Limit,
}

/// A CA to go to when those before it fail. Contact and everything else is as in `[acme]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// The CA's ACME directory.
    pub directory: HttpUrl,
    /// Whether you agree to this CA's terms of service. Must be true.
    #[serde(default)]
    pub accept_terms: bool,
    /// PEM file of certificates to trust for the directory. Absent: the public ones only.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// External account binding. Absent: the CA wants none.
    #[serde(default)]
    pub eab: Option<Eab>,
    /// The certificate profile to order. Absent: the CA's default.
    #[serde(default)]
    pub profile: Option<String>,
    /// This CA's limits.
    #[serde(default)]
    pub limits: Limits,
}

/// A mailto: URL (RFC 6068) with one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact(String);

impl Contact {
    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

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

impl std::fmt::Display for Contact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

written_as_text!(
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

/// Those of Let's Encrypt, see anchors of the project: 300 orders per account and 3 hours, 50
/// certificates per registered domain and 7 days, 5 failed validations per name and hour.
impl Default for Limits {
    fn default() -> Self {
        Self {
            orders_per_account: Limit::per_hours(300, 3),
            per_registered_domain: Limit::per_hours(50, 7 * 24),
            failed_per_name: Limit::per_hours(5, 1),
        }
    }
}

/// Public CAs by the hosts of their directories, and of those they offer for trying out.
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

/// Whether a name is reserved for examples, tests and this machine (RFC 2606, RFC 6761).
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
    pub(super) fn resolve(&mut self, paths: &Paths<'_>) {
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

    pub(super) fn check(&self, found: &mut Findings<'_>) {
        if self.issue == Issue::Off {
            return;
        }
        if self.contact.is_empty() {
            found.warn(
                "acme.contact",
                "is empty: the CA cannot write to you about your certificates",
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
                    "is an earlier CA's directory; give another CA's",
                );
            }
        }
    }

    /// Names from an example, which a public CA would refuse, or register with another party's
    /// address.
    pub(super) fn check_names(&self, edge: &Edge, found: &mut Findings<'_>) {
        let directories = std::iter::once(&self.directory).chain(self.fallback.iter().map(|f| &f.directory));
        let is_public = |d: &HttpUrl| d.uri().host().is_some_and(|h| PUBLIC_CAS.contains(&h));
        if self.issue == Issue::Off || !directories.into_iter().any(is_public) {
            return;
        }
        let says = "is a name of an example, for which no public CA issues certificates; give the platform's own";
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
                    "is an address of an example, which public CAs refuse; give one that the platform reads",
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
                ", or set acme.issue = \"off\" to serve only what is held"
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
