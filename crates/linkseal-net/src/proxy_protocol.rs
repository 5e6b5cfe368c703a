//! The PROXY protocol, versions 1 and 2: how a balancer tells who the client is.
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
/// Bytes that tell the versions apart. Every header is longer (the shortest is `PROXY UNKNOWN`).
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
    #[error("the PROXY protocol header did not come in time")]
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
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    const PATIENT: Duration = Duration::from_secs(30);

    fn v2_tcp4() -> Vec<u8> {
        let addresses = v2::IPv4::new([192, 0, 2, 7], [198, 51, 100, 1], 40_000, 443);
        v2::Builder::with_addresses(v2::Version::Two | v2::Command::Proxy, v2::Protocol::Stream, addresses)
            .write_tlv(v2::Type::ALPN, b"h2")
            .unwrap()
            .build()
            .unwrap()
    }

    fn v2_of(command: v2::Command, addresses: impl Into<v2::Addresses>) -> Vec<u8> {
        v2::Builder::with_addresses(v2::Version::Two | command, v2::Protocol::Stream, addresses)
            .build()
            .unwrap()
    }

    fn from_192_0_2_7() -> Header {
        proxied([192, 0, 2, 7], 40_000, [198, 51, 100, 1], 443)
    }

    /// Sends pieces to a real socket; gives what the header says and what is left behind it.
    async fn exchange(pieces: &[&[u8]], deadline: Duration) -> (Result<Header, ProxyError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let send = async {
            for piece in pieces {
                // An error means that the reader has refused and closed, which it tells itself.
                let _ = client.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            let _ = client.shutdown().await;
        };
        let receive = async {
            let header = read(&mut server, deadline).await;
            let mut rest = Vec::new();
            if header.is_ok() {
                server.read_to_end(&mut rest).await.unwrap();
            }
            (header, rest)
        };
        tokio::join!(send, receive).1
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_what_follows() {
        let tcp6 = v2_of(
            v2::Command::Proxy,
            v2::IPv6::new(
                [0x2001, 0xdb8, 0, 0, 0, 0, 0, 7],
                [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1],
                40_000,
                443,
            ),
        );
        let from_v6 = proxied(
            "2001:db8::7".parse::<IpAddr>().unwrap(),
            40_000,
            "2001:db8::1".parse::<IpAddr>().unwrap(),
            443,
        );
        for (header, says) in [
            (
                b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n".to_vec(),
                from_192_0_2_7(),
            ),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n".to_vec(), from_v6),
            (
                b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 40000 443\r\n".to_vec(),
                from_192_0_2_7(),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Header::Direct),
            (b"PROXY UNKNOWN what ever\r\n".to_vec(), Header::Direct),
            (v2_tcp4(), from_192_0_2_7()),
            (tcp6, from_v6),
            (
                v2_of(
                    v2::Command::Local,
                    v2::IPv4::new([192, 0, 2, 7], [198, 51, 100, 1], 40_000, 443),
                ),
                Header::Direct,
            ),
            (v2_of(v2::Command::Local, v2::Addresses::Unspecified), Header::Direct),
            (v2_of(v2::Command::Proxy, v2::Addresses::Unspecified), Header::Direct),
        ] {
            let rest = b"\n\r\nGET / HTTP/1.1\r\n\r\n";
            let whole = [&header[..], rest].concat();
            let (read, left) = exchange(&[&whole], PATIENT).await;
            assert_eq!(read.unwrap(), says, "{}", header.escape_ascii());
            assert_eq!(left, rest);
            let bytes: Vec<&[u8]> = whole.chunks(1).collect();
            let (read, left) = exchange(&bytes, PATIENT).await;
            assert_eq!(read.unwrap(), says);
            assert_eq!(left, rest);
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let mut long_v2 = v2_tcp4();
        long_v2[14..16].copy_from_slice(&[0xff, 0xff]);
        let mut other_version = v2_tcp4();
        other_version[12] = 0x11;
        let mut datagram = v2_tcp4();
        datagram[13] = 0x12;
        let long_v1 = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200], b"\r\n"].concat();
        for (sent, why) in [
            (b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec(), "must begin"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01".to_vec(), "must begin"),
            (b"PROXIES everywhere".to_vec(), "must begin"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\n".to_vec(), "malformed"),
            (
                b"PROXY TCP4 192.0.2.7\r 198.51.100.1 40000 443\r\n".to_vec(),
                "malformed",
            ),
            (
                b"PROXY TCP4 192.0.2.777 198.51.100.1 40000 443\r\n".to_vec(),
                "malformed",
            ),
            (
                b"PROXY TCP4 2001:db8::1 198.51.100.1 40000 443\r\n".to_vec(),
                "malformed",
            ),
            (
                b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 70000\r\n".to_vec(),
                "malformed",
            ),
            (b"PROXY UDP4 192.0.2.7 198.51.100.1 40000 443\r\n".to_vec(), "malformed"),
            (other_version, "malformed"),
            (datagram, "datagrams"),
            (long_v1, "longer"),
            (long_v2, "longer"),
            (b"PROXY TCP4 192.0.2.7".to_vec(), "ended"),
            (Vec::new(), "ended"),
        ] {
            let error = exchange(&[&sent], PATIENT).await.0.unwrap_err();
            assert!(error.to_string().contains(why), "{}: {error}", sent.escape_ascii());
        }
    }

    #[tokio::test]
    async fn a_silent_balancer_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(b"PROXY TCP4 192.0").await.unwrap();
        let error = read(&mut server, Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, ProxyError::Late), "{error}");
    }

    #[test]
    fn only_the_networks_given_are_balancers() {
        let balancers = Balancers::new(vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        assert!(balancers.contain("10.1.2.3".parse().unwrap()));
        assert!(balancers.contain("2001:db8::1".parse().unwrap()));
        assert!(!balancers.contain("192.0.2.1".parse().unwrap()));
        assert!(!Balancers::default().contain("10.1.2.3".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn junk_never_panics_and_asks_for_a_bounded_number_of_bytes(
            start in prop::sample::select(vec![&b""[..], START_V1, v2::PROTOCOL_PREFIX]),
            junk in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [start, &junk].concat();
            match missing(&bytes) {
                Ok(Missing::Nothing) => drop(parse(&bytes)),
                Ok(Missing::Bytes(n)) => prop_assert!(n > 0 && bytes.len() + n <= MAX_V2),
                Ok(Missing::Line(n)) => prop_assert!(n > 0 && bytes.len() + n <= MAX_V1),
                Err(_) => {}
            }
        }
    }
}
