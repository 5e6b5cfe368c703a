//! The PROXY protocol, versions 1 and 2: how a balancer passes on the client's address.
//!
//! Peers in `listen.proxy_protocol_from` must speak it; from all others it is just a bad request. No
//! byte after the header is taken off the socket, so what follows is read as if the client had connected
//! directly. Reference: haproxy.org, proxy-protocol.txt, section 2.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use ppp::{v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a balancer may take for its header, which it sends immediately.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// The longest version 1 line in bytes, line end included (section 2.1).
const MAX_V1: usize = 107;
/// The longest version 2 header accepted, in bytes: many times the addresses and usual extensions.
const MAX_V2: usize = 4096;
/// Bytes of version 2's signature, version, family and length (section 2.2).
const FIXED_V2: usize = 16;
/// Bytes that distinguish the versions. Every header is longer (the shortest is `PROXY UNKNOWN`).
const START: usize = v2::PROTOCOL_PREFIX.len();
const START_V1: &[u8] = b"PROXY ";

/// The peers that must speak the protocol.
#[derive(Clone, Debug, Default)]
pub struct Balancers(Vec<IpNet>);

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The balancer connected on behalf of a client.
    Proxied {
        client: SocketAddr,
        /// The address the client connected to.
        local: SocketAddr,
    },
    /// LOCAL or UNKNOWN: the balancer's own connection (a health check), or no addresses. The socket's apply.
    Direct,
}

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("a peer of proxy_protocol_from must begin with a PROXY protocol header")]
    Missing,
    #[error("the PROXY protocol header is malformed: {0}")]
    Malformed(String),
    #[error("the PROXY protocol header is longer than allowed ({MAX_V1} bytes in version 1, {MAX_V2} in version 2)")]
    TooLong,
    #[error("the PROXY protocol header did not arrive in time")]
    Late,
    #[error("the connection ended in its PROXY protocol header: {0}")]
    Io(#[from] io::Error),
}

impl Balancers {
    /// From `listen.proxy_protocol_from`.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether a peer must speak the protocol.
    pub fn contain(&self, peer: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&peer))
    }
}

/// Reads the header from a balancer's connection.
pub async fn read(stream: &mut TcpStream, deadline: Duration) -> Result<Header, ProxyError> {
    timeout(deadline, read_header(stream))
        .await
        .map_err(|_| ProxyError::Late)?
}

async fn read_header(stream: &mut TcpStream) -> Result<Header, ProxyError> {
    let mut header = Vec::with_capacity(MAX_V1);
    loop {
        let take = match missing(&header)? {
            Missing::Nothing => return parse(&header),
            Missing::Bytes(n) => n,
            Missing::Line(most) => {
                let mut ahead = [0; MAX_V1];
                let n = stream.peek(ahead.get_mut(..most).unwrap_or_default()).await?;
                let seen = ahead.get(..n).unwrap_or_default();
                seen.iter().position(|b| *b == b'\n').map_or(n, |end| end + 1)
            }
        };
        let taken = (&mut *stream).take(take as u64).read_buf(&mut header).await?;
        if taken == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// What a header still lacks.
#[derive(Debug, PartialEq, Eq)]
enum Missing {
    Nothing,
    /// At least this many bytes, all of them within the header.
    Bytes(usize),
    /// The rest of a line, at most this many bytes.
    Line(usize),
}

fn missing(header: &[u8]) -> Result<Missing, ProxyError> {
    let starts = |with: &[u8]| header.iter().zip(with).all(|(a, b)| a == b);
    if starts(v2::PROTOCOL_PREFIX) {
        let Some(fixed) = header.first_chunk::<FIXED_V2>() else {
            // So far it may still be version 1: do not read past its shortest header.
            let known = if header.len() < START { START } else { FIXED_V2 };
            return Ok(Missing::Bytes(known - header.len()));
        };
        let [.., high, low] = *fixed;
        let length = FIXED_V2 + usize::from(u16::from_be_bytes([high, low]));
        return match length {
            _ if length > MAX_V2 => Err(ProxyError::TooLong),
            _ if length > header.len() => Ok(Missing::Bytes(length - header.len())),
            _ => Ok(Missing::Nothing),
        };
    }
    match header.len() {
        _ if !starts(START_V1) => Err(ProxyError::Missing),
        len if len < START => Ok(Missing::Bytes(START - len)),
        _ if header.ends_with(b"\n") => Ok(Missing::Nothing),
        len if len >= MAX_V1 => Err(ProxyError::TooLong),
        len => Ok(Missing::Line(MAX_V1 - len)),
    }
}

/// Parses a complete header.
fn parse(header: &[u8]) -> Result<Header, ProxyError> {
    if header.starts_with(v2::PROTOCOL_PREFIX) {
        let parsed = v2::Header::try_from(header).map_err(|e| ProxyError::Malformed(e.to_string()))?;
        return match (parsed.command, parsed.addresses, parsed.protocol) {
            (v2::Command::Local, ..) => Ok(Header::Direct),
            (_, _, v2::Protocol::Datagram) => {
                Err(ProxyError::Malformed("this listener does not take datagrams".into()))
            }
            (_, v2::Addresses::IPv4(a), _) => Ok(proxied(
                a.source_address,
                a.source_port,
                a.destination_address,
                a.destination_port,
            )),
            (_, v2::Addresses::IPv6(a), _) => Ok(proxied(
                a.source_address,
                a.source_port,
                a.destination_address,
                a.destination_port,
            )),
            (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_), _) => Ok(Header::Direct),
        };
    }
    let parsed = v1::Header::try_from(header).map_err(|e| ProxyError::Malformed(e.to_string()))?;
    if parsed.header.len() != header.len() {
        return Err(ProxyError::Malformed("a carriage return within the line".into()));
    }
    match parsed.addresses {
        v1::Addresses::Unknown => Ok(Header::Direct),
        v1::Addresses::Tcp4(a) => Ok(proxied(
            a.source_address,
            a.source_port,
            a.destination_address,
            a.destination_port,
        )),
        v1::Addresses::Tcp6(a) => Ok(proxied(
            a.source_address,
            a.source_port,
            a.destination_address,
            a.destination_port,
        )),
    }
}

fn proxied(client: impl Into<IpAddr>, client_port: u16, local: impl Into<IpAddr>, local_port: u16) -> Header {
    Header::Proxied {
        client: SocketAddr::new(client.into().to_canonical(), client_port),
        local: SocketAddr::new(local.into().to_canonical(), local_port),
    }
}

#[cfg(test)]
mod tests;
