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

/// Sends pieces over a real socket; returns the header and the bytes after it.
async fn exchange(pieces: &[&[u8]], deadline: Duration) -> (Result<Header, ProxyError>, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.set_nodelay(true).unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let send = async {
        for piece in pieces {
            // This fails if the reader rejected the header and closed; the reader's error is returned.
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
async fn invalid_headers_are_rejected() {
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
async fn a_balancer_without_a_header_runs_into_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    client.write_all(b"PROXY TCP4 192.0").await.unwrap();
    let error = read(&mut server, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, ProxyError::Late), "{error}");
}

#[test]
fn only_the_configured_networks_are_balancers() {
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
