//! The URL of a PostgreSQL database: libpq's URI form, with the few parameters that have a meaning here. It is
//! parsed here and not by the client library, which knows neither `verify-full` nor `sslrootcert` and would
//! fall back to a connection without TLS.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;

use linkseal_net::address::is_public;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use rustls::pki_types::DnsName;

use crate::paths::Paths;

/// A PostgreSQL database and how to reach it (libpq, "Connection URIs"). It cannot hold a password, and prints
/// as a URL that parses to the same value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresUrl {
    /// Never empty.
    hosts: Vec<PostgresHost>,
    user: String,
    database: String,
    tls: PostgresTls,
}

/// One of the servers, which are tried in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresHost {
    pub address: PostgresAddress,
    pub port: NonZeroU16,
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostgresAddress {
    /// A name to look up, in lower case.
    Name(String),
    Ip(IpAddr),
    /// The absolute path of the directory with the server's Unix socket.
    Socket(PathBuf),
}

/// How connections are protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostgresTls {
    /// Not at all: on this machine, or `sslmode=disable`.
    Disabled,
    /// TLS with the server's certificate and name verified.
    VerifyFull {
        /// PEM file of the CA certificates to trust instead of the public ones. Without one: the public ones.
        roots: Option<PathBuf>,
    },
}

/// Why a text is not the URL of a PostgreSQL database. No message contains a part of it that may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostgresUrlError {
    #[error("must begin with postgres:// or postgresql://")]
    Scheme,
    #[error(
        "contains a password, which everyone who can read the configuration would learn: put it into a file and name \
         the file in store.password_file"
    )]
    Password,
    #[error(
        "has an @ or # that belongs to a name: write %40 or %23 instead; a password belongs in the file that \
         store.password_file names"
    )]
    Unescaped,
    #[error(
        "has a % without two hexadecimal digits after it, or contains control characters or text that is not UTF-8"
    )]
    Encoding,
    #[error("names no user: write it before the host, as in linkseal@db.internal")]
    User,
    #[error(
        "must name one database after the host, as in db.internal/linkseal (a / that is part of its name is written %2F)"
    )]
    Database,
    /// A server, as it is written.
    #[error(
        "has \"{0}\" where a server must be: a host name, an IPv4 address, an IPv6 address in brackets or the directory \
         of a Unix socket (%2Frun%2Fpostgresql), and after a colon its port from 1 to 65535 unless that is 5432; \
         several are separated by commas"
    )]
    Host(String),
    #[error("has a parameter without a value; write name=value and & between two of them")]
    NoValue,
    #[error("has the parameter {0} twice")]
    Twice(&'static str),
    /// The parameter's name, if it has the form of one.
    #[error("has the parameter {0}, which is not supported; allowed are sslmode, sslrootcert and target_session_attrs")]
    Parameter(String),
    #[error(
        "has the parameter {0}; servers are written before the database, and the directory of a Unix socket there as \
         %2Frun%2Fpostgresql"
    )]
    HostParameter(&'static str),
    #[error(
        "has sslmode={0}, with which anyone between this node and the server can read and change everything ({1}); \
         allowed are sslmode=verify-full and, where that is acceptable, sslmode=disable"
    )]
    Unsafe(&'static str, &'static str),
    #[error("must have sslmode=verify-full or sslmode=disable, or no sslmode")]
    SslMode,
    #[error("has an sslrootcert, which sslmode=disable would never use; remove one of them")]
    UnusedRoots,
    #[error(
        "asks for TLS over a Unix socket, where there is none: use sslmode=disable if all other servers are reached \
         safely too, else name only servers with TLS"
    )]
    SocketTls,
    #[error("must have target_session_attrs=read-write or none: linkseal writes")]
    SessionAttrs,
}

/// The port of a server that names none.
const DEFAULT_PORT: NonZeroU16 = NonZeroU16::MIN.saturating_add(5431);
/// What is percent-encoded in every part: all but the unreserved characters (RFC 3986 §2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The longest name of a parameter that an error repeats, in bytes; libpq's longest has 25.
const LONGEST_PARAMETER: usize = 32;

impl PostgresUrl {
    /// The servers in the order in which they are tried; at least one.
    pub fn hosts(&self) -> &[PostgresHost] {
        &self.hosts
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    pub fn database(&self) -> &str {
        &self.database
    }

    pub fn tls(&self) -> &PostgresTls {
        &self.tls
    }

    pub(super) fn resolve(&mut self, paths: &Paths<'_>) {
        if let PostgresTls::VerifyFull { roots: Some(roots) } = &mut self.tls {
            paths.resolve(roots);
        }
    }

    /// The servers to which connections without TLS may cross networks of others. A name may be that of a
    /// private address, but only DNS knows.
    pub(super) fn exposed(&self) -> impl Iterator<Item = &PostgresHost> {
        let is_exposed = |host: &&PostgresHost| match &host.address {
            PostgresAddress::Ip(ip) => is_public(*ip),
            PostgresAddress::Name(_) => !host.is_this_machine(),
            PostgresAddress::Socket(_) => false,
        };
        let hosts = self.hosts.iter().filter(is_exposed);
        hosts.filter(|_| self.tls == PostgresTls::Disabled)
    }
}

impl PostgresHost {
    fn is_this_machine(&self) -> bool {
        match &self.address {
            PostgresAddress::Name(name) => name == "localhost",
            PostgresAddress::Ip(ip) => ip.to_canonical().is_loopback(),
            PostgresAddress::Socket(_) => true,
        }
    }
}

impl FromStr for PostgresUrl {
    type Err = PostgresUrlError;
    fn from_str(text: &str) -> Result<Self, PostgresUrlError> {
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .ok_or(PostgresUrlError::Scheme)?;
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, hosts) = user_and_hosts(authority, rest)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let database = path.strip_prefix('/').filter(|name| !name.contains('/'));
        let database = decoded(database.ok_or(PostgresUrlError::Database)?)?;
        if database.is_empty() {
            return Err(PostgresUrlError::Database);
        }
        let hosts = hosts.split(',').map(host).collect::<Result<Vec<_>, _>>()?;
        let tls = Parameters::of(query)?.tls(&hosts)?;
        Ok(Self {
            hosts,
            user,
            database,
            tls,
        })
    }
}

/// Splits the part before the database. Only here is it known which part of a URL may be a password.
fn user_and_hosts<'a>(authority: &'a str, rest: &str) -> Result<(String, &'a str), PostgresUrlError> {
    let (user, hosts) = match authority.rsplit_once('@') {
        Some(both) => both,
        // A password with a / or ? in it ends the authority too early.
        None if rest.contains('@') && authority.contains(':') => return Err(PostgresUrlError::Password),
        None if rest.contains(['@', '#']) => return Err(PostgresUrlError::Unescaped),
        None => return Err(PostgresUrlError::User),
    };
    if user.contains(':') {
        return Err(PostgresUrlError::Password);
    }
    if user.contains('@') || rest.contains(['@', '#']) {
        return Err(PostgresUrlError::Unescaped);
    }
    let user = decoded(user)?;
    if user.is_empty() {
        return Err(PostgresUrlError::User);
    }
    Ok((user, hosts))
}

fn host(text: &str) -> Result<PostgresHost, PostgresUrlError> {
    let bad = || PostgresUrlError::Host(text.to_owned());
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']').ok_or_else(bad)?;
            let ip: Ipv6Addr = ip.parse().map_err(|_| bad())?;
            (PostgresAddress::Ip(ip.into()), port)
        }
        None => {
            let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (address(&decoded_bytes(name)?).ok_or_else(bad)?, port)
        }
    };
    let port = match port.strip_prefix(':') {
        Some(port) => Some(port).filter(|port| port.bytes().all(|b| b.is_ascii_digit())),
        None if port.is_empty() => {
            return Ok(PostgresHost {
                address,
                port: DEFAULT_PORT,
            });
        }
        None => None,
    };
    let port = port.and_then(|port| port.parse().ok()).ok_or_else(bad)?;
    Ok(PostgresHost { address, port })
}

fn address(decoded: &[u8]) -> Option<PostgresAddress> {
    if decoded.starts_with(b"/") {
        let path = OsString::from_vec(decoded.to_vec());
        return Some(PostgresAddress::Socket(path.into()));
    }
    let text = std::str::from_utf8(decoded).ok()?;
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Some(PostgresAddress::Ip(ip.into()));
    }
    DnsName::try_from(text).ok()?;
    Some(PostgresAddress::Name(text.to_ascii_lowercase()))
}

/// The parameters that are given.
#[derive(Default)]
struct Parameters {
    /// Whether `sslmode` is `verify-full`.
    verifies: Option<bool>,
    roots: Option<PathBuf>,
}

impl Parameters {
    fn of(query: &str) -> Result<Self, PostgresUrlError> {
        let mut all = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(PostgresUrlError::NoValue)?;
            match name {
                "sslmode" => set("sslmode", &mut all.verifies, verifies(value)?)?,
                "sslrootcert" => {
                    let path = OsString::from_vec(decoded_bytes(value)?);
                    if path.is_empty() {
                        return Err(PostgresUrlError::NoValue);
                    }
                    set("sslrootcert", &mut all.roots, path.into())?;
                }
                // What linkseal does in any case.
                "target_session_attrs" if value == "read-write" => {}
                "target_session_attrs" => return Err(PostgresUrlError::SessionAttrs),
                "password" | "passfile" => return Err(PostgresUrlError::Password),
                "host" => return Err(PostgresUrlError::HostParameter("host")),
                "hostaddr" => return Err(PostgresUrlError::HostParameter("hostaddr")),
                "port" => return Err(PostgresUrlError::HostParameter("port")),
                other => {
                    let is_name =
                        other.len() <= LONGEST_PARAMETER && other.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
                    let shown = if is_name { other } else { "…" };
                    return Err(PostgresUrlError::Parameter(shown.to_owned()));
                }
            }
        }
        Ok(all)
    }

    fn tls(self, hosts: &[PostgresHost]) -> Result<PostgresTls, PostgresUrlError> {
        let tls = match (self.verifies, self.roots) {
            (Some(false), Some(_)) => return Err(PostgresUrlError::UnusedRoots),
            (Some(false), None) => PostgresTls::Disabled,
            (None, None) if default_is_disabled(hosts) => PostgresTls::Disabled,
            (_, roots) => PostgresTls::VerifyFull { roots },
        };
        let socket = hosts.iter().any(|h| matches!(h.address, PostgresAddress::Socket(_)));
        if socket && tls != PostgresTls::Disabled {
            return Err(PostgresUrlError::SocketTls);
        }
        Ok(tls)
    }
}

fn set<T>(name: &'static str, place: &mut Option<T>, value: T) -> Result<(), PostgresUrlError> {
    match place.replace(value) {
        Some(_) => Err(PostgresUrlError::Twice(name)),
        None => Ok(()),
    }
}

/// Whether an `sslmode` verifies the server; those in between only seem to protect (libpq, "SSL Support").
fn verifies(mode: &str) -> Result<bool, PostgresUrlError> {
    let only_if_offered = "it goes on without TLS if the server seems to offer none";
    let unverified = "it accepts any certificate";
    let unnamed = "it accepts every server's certificate from that CA";
    match mode {
        "verify-full" => Ok(true),
        "disable" => Ok(false),
        "allow" => Err(PostgresUrlError::Unsafe("allow", only_if_offered)),
        "prefer" => Err(PostgresUrlError::Unsafe("prefer", only_if_offered)),
        "require" => Err(PostgresUrlError::Unsafe("require", unverified)),
        "verify-ca" => Err(PostgresUrlError::Unsafe("verify-ca", unnamed)),
        _ => Err(PostgresUrlError::SslMode),
    }
}

/// Whether connections have no TLS unless `sslmode` or `sslrootcert` asks for it.
fn default_is_disabled(hosts: &[PostgresHost]) -> bool {
    hosts.iter().all(PostgresHost::is_this_machine)
}

fn decoded(text: &str) -> Result<String, PostgresUrlError> {
    String::from_utf8(decoded_bytes(text)?).map_err(|_| PostgresUrlError::Encoding)
}

/// Percent-decodes a part of the URL (RFC 3986 §2.1). A zero byte would end a name in PostgreSQL's protocol, and
/// other control characters come from mistakes.
fn decoded_bytes(text: &str) -> Result<Vec<u8>, PostgresUrlError> {
    let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    if !text.split('%').skip(1).all(is_escape) || bytes.iter().any(u8::is_ascii_control) {
        return Err(PostgresUrlError::Encoding);
    }
    Ok(bytes)
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@", encoded(self.user.as_bytes()))?;
        for (i, host) in self.hosts.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{host}")?;
        }
        write!(f, "/{}", encoded(self.database.as_bytes()))?;
        match &self.tls {
            PostgresTls::Disabled if default_is_disabled(&self.hosts) => Ok(()),
            PostgresTls::Disabled => f.write_str("?sslmode=disable"),
            PostgresTls::VerifyFull { roots: Some(roots) } => {
                write!(f, "?sslrootcert={}", encoded(roots.as_os_str().as_bytes()))
            }
            PostgresTls::VerifyFull { roots: None } if default_is_disabled(&self.hosts) => {
                f.write_str("?sslmode=verify-full")
            }
            PostgresTls::VerifyFull { roots: None } => Ok(()),
        }
    }
}

impl fmt::Display for PostgresHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            PostgresAddress::Name(name) => f.write_str(name),
            PostgresAddress::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            PostgresAddress::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            PostgresAddress::Socket(path) => encoded(path.as_os_str().as_bytes()).fmt(f),
        }?;
        if self.port == DEFAULT_PORT {
            return Ok(());
        }
        write!(f, ":{}", self.port)
    }
}

fn encoded(bytes: &[u8]) -> impl fmt::Display {
    percent_encode(bytes, RESERVED)
}
