//! Values that are written as text in the file and can only hold what is allowed: durations, sizes,
//! limits, addresses, URLs, prefixes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use ipnet::IpNet;
use linkseal_domain::DomainName;
use linkseal_domain::record::is_tenant;

/// Gives a type that reads and prints itself as text its serde and JSON Schema side.
/// `$allowed` follows "must be"; the example shows in the schema.
macro_rules! written_as_text {
    ($name:ident, $allowed:literal, $example:literal) => {
        impl crate::Written for $name {
            const ALLOWED: &'static str = $allowed;
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($allowed)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse()
                            .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
                    }
                }
                d.deserialize_str(Text)
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut schema = schemars::Schema::default();
                schema.insert("type".to_owned(), "string".into());
                schema.insert("description".to_owned(), $allowed.into());
                schema.insert(
                    "examples".to_owned(),
                    serde_json::Value::Array(vec![$example.into()]),
                );
                schema
            }
        }
    };
}
pub(super) use written_as_text;

/// A value that is written as text, and what is allowed there.
pub trait Written: FromStr {
    /// Follows "must be".
    const ALLOWED: &'static str;
}

/// Reads a command-line argument that is written like a value of the configuration.
///
/// # Errors
/// What is allowed.
pub fn argument<T: Written>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("must be {}", T::ALLOWED))
}

/// The text is not what the key takes; what it takes is said where it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not allowed here")]
pub struct InvalidValue;

// --- time, sizes, limits -------------------------------------------------------------------------

/// A span of time, such as `10s`, `72h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigDuration(Duration);

/// The longest span a key takes: adding it to any time of day cannot overflow.
const LONGEST_SPAN: Duration = Duration::from_secs(100 * 366 * 86_400);

impl ConfigDuration {
    /// So many seconds.
    pub const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// So many hours.
    pub const fn hours(hours: u64) -> Self {
        Self::secs(hours * 3600)
    }

    /// As the standard library has it.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl Deref for ConfigDuration {
    type Target = Duration;
    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl FromStr for ConfigDuration {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let span = humantime::parse_duration(text).map_err(|_| InvalidValue)?;
        if span <= LONGEST_SPAN {
            Ok(Self(span))
        } else {
            Err(InvalidValue)
        }
    }
}

impl fmt::Display for ConfigDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // humantime would print 72h as "3days"; people compare with what they wrote.
        let secs = self.0.as_secs();
        match (secs, self.0.subsec_nanos()) {
            (_, 1..) => write!(f, "{}", humantime::format_duration(self.0)),
            (0, 0) => f.write_str("0s"),
            (s, 0) if s % 3600 == 0 => write!(f, "{}h", s / 3600),
            (s, 0) if s % 60 == 0 => write!(f, "{}m", s / 60),
            (s, 0) => write!(f, "{s}s"),
        }
    }
}

written_as_text!(
    ConfigDuration,
    "a duration such as \"10s\", \"5m\", \"72h\" or \"7d\"",
    "10s"
);

/// How often something is done, such as `6h`; or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// Never.
    Off,
    /// Once in this time.
    Every(ConfigDuration),
}

impl Interval {
    /// The time. `None`: never.
    pub const fn get(self) -> Option<ConfigDuration> {
        match self {
            Self::Off => None,
            Self::Every(span) => Some(span),
        }
    }
}

impl FromStr for Interval {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "off" => Ok(Self::Off),
            span => span.parse().map(Self::Every),
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Every(span) => span.fmt(f),
        }
    }
}

written_as_text!(Interval, "\"off\", or a duration such as \"6h\"", "6h");

/// A number of bytes, such as `10GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// Units of [`ByteSize`], largest first for printing; the decimal ones are read only.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// So many MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// So many GiB.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or(InvalidValue)?;
        let (number, unit) = text.split_at(digits);
        let (_, factor) = UNITS
            .iter()
            .find(|(name, _)| *name == unit.trim_start())
            .ok_or(InvalidValue)?;
        let number: u64 = number.parse().map_err(|_| InvalidValue)?;
        number.checked_mul(*factor).map(Self).ok_or(InvalidValue)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = UNITS
            .iter()
            .take(4)
            .find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        let (unit, factor) = binary.copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

written_as_text!(
    ByteSize,
    "a size such as \"10GiB\" (units: B, KiB, MiB, GiB, TiB, kB, MB, GB, TB)",
    "10GiB"
);

/// A limit of a CA: so many in so much time, such as `300/3h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many; at least one.
    pub count: u32,
    /// In what time; longer than zero.
    pub per: ConfigDuration,
}

impl Limit {
    /// `count` in so many hours.
    pub(super) const fn per_hours(count: u32, hours: u64) -> Self {
        Self {
            count,
            per: ConfigDuration::hours(hours),
        }
    }
}

impl FromStr for Limit {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let (count, per) = text.split_once('/').ok_or(InvalidValue)?;
        let count = count.trim().parse().ok().filter(|c| *c > 0).ok_or(InvalidValue)?;
        let per: ConfigDuration = per.trim().parse()?;
        if per.is_zero() {
            Err(InvalidValue)
        } else {
            Ok(Self { count, per })
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per)
    }
}

written_as_text!(
    Limit,
    "a limit such as \"300/3h\" (a count and a time, both above zero)",
    "300/3h"
);

// --- addresses -----------------------------------------------------------------------------------

/// An IP address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenAddr(SocketAddr);

impl ListenAddr {
    /// As the standard library has it.
    pub const fn get(self) -> SocketAddr {
        self.0
    }
}

impl From<SocketAddr> for ListenAddr {
    fn from(address: SocketAddr) -> Self {
        Self(address)
    }
}

impl Deref for ListenAddr {
    type Target = SocketAddr;
    fn deref(&self) -> &SocketAddr {
        &self.0
    }
}

impl FromStr for ListenAddr {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        text.parse().map(Self).map_err(|_| InvalidValue)
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

written_as_text!(
    ListenAddr,
    "an IP address with a port, such as \"[::]:443\" or \"192.0.2.53:53\"",
    "[::]:443"
);

/// An IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(IpAddr);

impl Address {
    /// As the standard library has it.
    pub const fn get(self) -> IpAddr {
        self.0
    }
}

impl FromStr for Address {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        text.parse().map(Self).map_err(|_| InvalidValue)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

written_as_text!(
    Address,
    "an IP address such as \"203.0.113.10\" or \"2001:db8::10\"",
    "203.0.113.10"
);

/// An IP address, and the port where its port 80 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpProbeAddr(SocketAddr);

impl HttpProbeAddr {
    /// As the standard library has it.
    pub const fn get(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for HttpProbeAddr {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let bare = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 80));
        let address = text.parse::<SocketAddr>().or_else(|_| bare());
        address.ok().filter(|a| a.port() != 0).map(Self).ok_or(InvalidValue)
    }
}

impl fmt::Display for HttpProbeAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

written_as_text!(
    HttpProbeAddr,
    "an IP address, with a port unless that is 80, such as \"10.0.0.5\" or \"[fd00::5]:8080\"",
    "10.0.0.5"
);

/// A network in CIDR notation (RFC 4632 §3.1); a single address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// As the ipnet crate has it.
    pub const fn get(self) -> IpNet {
        self.0
    }
}

impl FromStr for Network {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let one = || text.parse::<IpAddr>().map(IpNet::from);
        let network: IpNet = text.parse().or_else(|_| one()).map_err(|_| InvalidValue)?;
        // `10.0.0.5/8` may mean the host or the whole network: which, its writer has to say.
        (network == network.trunc())
            .then_some(Self(network))
            .ok_or(InvalidValue)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

written_as_text!(
    Network,
    "a network in CIDR notation such as \"10.0.0.0/8\" or \"2001:db8::/32\", with no bits set behind the prefix",
    "10.0.0.0/8"
);

// --- URLs and paths ------------------------------------------------------------------------------

/// An absolute http or https URL without user information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    text: String,
    uri: Uri,
}

impl HttpUrl {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As the http crate has it.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Whether it is https.
    pub fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Whether its host is this machine by its very name.
    pub fn is_loopback(&self) -> bool {
        let host = self.uri.host().unwrap_or_default();
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || host.ends_with(".localhost") || ip.is_ok_and(|ip| ip.is_loopback())
    }
}

impl FromStr for HttpUrl {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let uri: Uri = text.parse().map_err(|_| InvalidValue)?;
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        let host = uri
            .authority()
            .is_some_and(|a| !a.host().is_empty() && !a.as_str().contains('@'));
        if scheme && host {
            Ok(Self {
                text: text.to_owned(),
                uri,
            })
        } else {
            Err(InvalidValue)
        }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

written_as_text!(
    HttpUrl,
    "an http or https URL with a host and without user:password@",
    "https://platform.example/path"
);

/// What stands before `/o/`, `/c/`, `/r/`, `/u/` in links: empty, or `/` and more without a slash at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkPrefix(String);

impl LinkPrefix {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LinkPrefix {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let fine = text.is_empty() || (is_path(text) && !text.ends_with('/') && !text.starts_with("/.well-known"));
        if fine {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue)
        }
    }
}

impl fmt::Display for LinkPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

written_as_text!(
    LinkPrefix,
    "empty, or a path such as \"/e\" that starts with / and has none at its end (not below /.well-known)",
    "/e"
);

/// The start of a path: `/` and more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPrefix(String);

impl PathPrefix {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PathPrefix {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if is_path(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue)
        }
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

written_as_text!(
    PathPrefix,
    "a path such as \"/track/\" that starts with / and has no ? or #",
    "/track/"
);

/// A path without doubled slashes or dot segments, in visible ASCII, without query or fragment.
fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#')
        && !text.contains("//")
        && !text.split('/').any(|s| s == "." || s == "..")
}

/// A name in the DNS that need not be a host's: its labels may hold underscores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsName(String);

impl DnsName {
    /// In lower case, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsName {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        // As a host name once the underscores are letters: the same lengths and label rules.
        let name = text.trim_end_matches('.').to_ascii_lowercase();
        if !name.is_ascii() || DomainName::parse(&name.replace('_', "x")).is_err() {
            return Err(InvalidValue);
        }
        Ok(Self(name))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

written_as_text!(
    DnsName,
    "a DNS name such as \"_spf.platform.example\"",
    "_spf.platform.example"
);

/// A short name for logs, labels and file names: letters, digits, `.`, `_` and `-`, at most 64.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(String);

/// Longest [`Label`] in characters: it becomes part of file names.
const LONGEST_LABEL: usize = 64;

impl Label {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let fine = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.len() <= LONGEST_LABEL
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
        if fine {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue)
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

written_as_text!(
    Label,
    "a name of 1 to 64 letters, digits, '.', '_' or '-' that starts with a letter or digit",
    "edge-1"
);

/// A tenant, as the platform calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant(String);

impl Tenant {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tenant {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if is_tenant(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue)
        }
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

written_as_text!(
    Tenant,
    "a tenant of 1 to 253 bytes without control characters or slashes",
    "customer"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: FromStr>(texts: &[&str]) {
        for text in texts {
            assert!(text.parse::<T>().is_err(), "{text} was taken");
        }
    }

    #[test]
    fn spans() {
        for (text, secs) in [
            ("10s", 10),
            ("72h", 259_200),
            ("7d", 604_800),
            ("1h 30m", 5400),
            ("0s", 0),
        ] {
            assert_eq!(text.parse::<ConfigDuration>().unwrap().as_secs(), secs, "{text}");
        }
        assert_eq!("7d".parse::<ConfigDuration>().unwrap().to_string(), "168h");
        assert_eq!("1500ms".parse::<ConfigDuration>().unwrap().to_string(), "1s 500ms");
        refused::<ConfigDuration>(&["", "10", "-1s", "10 parsecs", "1000y"]);
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("10GiB", 10 << 30), ("1 kB", 1000), ("0B", 0), ("512B", 512)] {
            assert_eq!(text.parse::<ByteSize>().unwrap().bytes(), bytes, "{text}");
        }
        assert_eq!(ByteSize::gib(10).to_string(), "10GiB");
        refused::<ByteSize>(&["", "10", "GiB", "10 gigs", "-1B", "99999999999TiB"]);
    }

    #[test]
    fn limits() {
        let limit: Limit = "300/3h".parse().unwrap();
        assert_eq!((limit.count, limit.per.as_secs()), (300, 10_800));
        assert_eq!(limit.to_string(), "300/3h");
        refused::<Limit>(&["300", "0/1h", "5/0s", "5/", "/1h", "-1/1h"]);
    }

    #[test]
    fn urls_and_paths() {
        assert!("https://ca.example/dir".parse::<HttpUrl>().unwrap().is_https());
        assert!("http://[::1]:80".parse::<HttpUrl>().unwrap().is_loopback());
        refused::<HttpUrl>(&[
            "",
            "/x",
            "ftp://a.example",
            "https://u:p@a.example/",
            "https://",
            "a.example:80",
        ]);
        for text in ["", "/e", "/a/b"] {
            assert!(text.parse::<LinkPrefix>().is_ok(), "{text}");
        }
        refused::<LinkPrefix>(&["e", "/", "/e/", "/a//b", "/a/../b", "/.well-known/x", "/e?x"]);
        refused::<PathPrefix>(&["", "track", "/a b", "/a#b"]);
    }

    #[test]
    fn networks_names_and_labels() {
        for (text, address) in [
            ("10.0.0.5", "10.0.0.5:80"),
            ("[fd00::5]:8080", "[fd00::5]:8080"),
            ("fd00::5", "[fd00::5]:80"),
        ] {
            assert_eq!(text.parse::<HttpProbeAddr>().unwrap().to_string(), address);
        }
        refused::<HttpProbeAddr>(&["", "x", "10.0.0.5:0", "10.0.0.5:x"]);
        assert_eq!("10.0.0.1".parse::<Network>().unwrap().to_string(), "10.0.0.1/32");
        refused::<Network>(&["10.0.0.0/33", "x"]);
        assert_eq!(
            "_SPF.Platform.example.".parse::<DnsName>().unwrap().as_str(),
            "_spf.platform.example"
        );
        refused::<DnsName>(&["", "a", "a b.example", "bücher.example"]);
        refused::<Label>(&["", "-a", "a/b", "a b"]);
        refused::<Tenant>(&["", "a/b", "a\nb", &"x".repeat(254)]);
        assert_eq!("a b".parse::<Tenant>().unwrap().as_str(), "a b");
    }
}
