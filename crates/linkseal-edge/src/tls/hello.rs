//! The ClientHello, read before anything is decided: the name it asks for picks the certificate.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::server::Acceptor;
use rustls::{AlertDescription, PeerMisbehaved};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::alert;

/// The longest ClientHello that is taken, in bytes on the wire. Those with post-quantum shares and
/// a ticket have 2 to 3 KiB.
const MAX_HELLO: usize = 16 * 1024;
/// Room for most, in bytes.
const USUAL_HELLO: usize = 2048;

/// A ClientHello, by the name in it.
pub(super) enum Hello<IO> {
    /// It has a host name in lower-case ASCII, which is not yet known to be a domain name.
    Named(StartHandshake<IO>),
    /// It has no server_name extension.
    Nameless(StartHandshake<IO>),
    /// It has one that holds an address or no host name (RFC 6066 §3): the client is still to be told.
    BadName(IO),
}

/// Why there is no ClientHello to go on with.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelloError {
    /// The client closed or reset without a single byte: a balancer's health check, a port scan.
    #[error("the client went away without a word")]
    Silent,
    /// The client closed or reset before it was complete.
    #[error("the client went away before its ClientHello was complete")]
    Gone,
    /// It is no ClientHello, or none that rustls takes. The client has been told.
    #[error("not a usable ClientHello: {0}")]
    Invalid(io::Error),
}

/// Reads a ClientHello. The caller bounds the time.
pub(super) async fn read<IO>(io: IO) -> Result<Hello<IO>, HelloError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let recording = Recording {
        io,
        read: Vec::with_capacity(USUAL_HELLO),
        withheld: Vec::new(),
    };
    let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), recording);
    let error = match (&mut acceptor).await {
        Ok(StartHandshake { accepted, io, .. }) => {
            let named = accepted.client_hello().server_name().is_some();
            // rustls tells the same of an address as of nothing.
            if !named && has_server_name(&io.read) {
                return Ok(Hello::BadName(io.io));
            }
            let start = StartHandshake::from_parts(accepted, io.io);
            return Ok(if named {
                Hello::Named(start)
            } else {
                Hello::Nameless(start)
            });
        }
        Err(e) => e,
    };
    let Some(recording) = acceptor.take_io() else {
        return Err(HelloError::Gone);
    };
    if recording.read.is_empty() {
        return Err(HelloError::Silent);
    }
    if is_bad_name(&error) {
        return Ok(Hello::BadName(recording.io));
    }
    if is_http(&recording.read) {
        alert::send_and_close(recording.io, PLAIN_HTTP.as_bytes()).await;
        return Err(HelloError::Invalid(error));
    }
    if !recording.withheld.is_empty() {
        alert::send_and_close(recording.io, &recording.withheld).await;
        return Err(HelloError::Invalid(error));
    }
    let owed = match of_rustls(&error) {
        Some(error) => alert::owed(error),
        // Longer than is taken here, or than rustls has room for.
        None if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::Other) => {
            AlertDescription::DecodeError
        }
        None => return Err(HelloError::Gone),
    };
    alert::send_and_close(recording.io, &alert::fatal(owed)).await;
    Err(HelloError::Invalid(error))
}

fn of_rustls(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>())
}

/// What people get whose browser or proxy speaks plain HTTP to this port.
const PLAIN_HTTP: &str = "HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 84\r\n\
    Cache-Control: no-store\r\n\
    Connection: close\r\n\
    \r\n\
    This port speaks HTTPS, and the request came as plain HTTP. Use a URL with https://\n";

/// Whether a client begins with a request of HTTP, as far as its first bytes tell.
fn is_http(read: &[u8]) -> bool {
    const METHODS: [&[u8]; 10] = [
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"PUT ",
        b"DELETE ",
        b"OPTIONS ",
        b"PATCH ",
        b"CONNECT ",
        b"TRACE ",
        b"PRI ",
    ];
    // rustls refuses what is no record after five bytes, and perhaps no more have come.
    METHODS
        .iter()
        .any(|method| read.starts_with(method) || method.starts_with(read))
}

fn is_bad_name(error: &io::Error) -> bool {
    of_rustls(error)
        == Some(&rustls::Error::PeerMisbehaved(
            PeerMisbehaved::ServerNameMustContainOneHostName,
        ))
}

/// A connection that remembers what is read from it, and keeps back what rustls would answer by
/// itself: for a bad name the answer is ours.
struct Recording<IO> {
    io: IO,
    read: Vec<u8>,
    withheld: Vec<u8>,
}

impl<IO: AsyncRead + Unpin> AsyncRead for Recording<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.read
            .extend_from_slice(buf.filled().get(before..).unwrap_or_default());
        if self.read.len() > MAX_HELLO {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "longer than 16 KiB")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: Unpin> AsyncWrite for Recording<IO> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.withheld.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Whether a ClientHello that rustls has found well-formed carries a server_name extension
/// (RFC 8446 §4.1.2, RFC 6066 §3). `records` is what came over the wire.
fn has_server_name(records: &[u8]) -> bool {
    find_server_name(records).is_some()
}

fn find_server_name(records: &[u8]) -> Option<()> {
    const SERVER_NAME: u16 = 0;
    let message = handshake_bytes(records);
    let mut hello = Cursor(&message);
    hello.skip(4)?; // Handshake type and length.
    hello.skip(2 + 32)?; // legacy_version, random.
    hello.skip_vector8()?; // legacy_session_id.
    let suites = hello.u16()?;
    hello.skip(suites.into())?;
    hello.skip_vector8()?; // legacy_compression_methods.
    hello.u16()?; // Length of all extensions.
    loop {
        let kind = hello.u16()?;
        if kind == SERVER_NAME {
            return Some(());
        }
        let length = hello.u16()?;
        hello.skip(length.into())?;
    }
}

/// The payloads of TLS records in a row (RFC 8446 §5.1).
fn handshake_bytes(records: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(records.len());
    let mut rest = Cursor(records);
    while let Some(length) = rest.skip(3).and_then(|()| rest.u16()) {
        let Some(payload) = rest.0.get(..length.into()) else {
            break;
        };
        message.extend_from_slice(payload);
        rest = Cursor(rest.0.get(length.into()..).unwrap_or_default());
    }
    message
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    fn u16(&mut self) -> Option<u16> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*bytes))
    }

    fn skip_vector8(&mut self) -> Option<()> {
        let (length, rest) = self.0.split_first()?;
        self.0 = rest;
        self.skip(usize::from(*length))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What a rustls client sends first.
    fn client_hello(sni: bool, max_fragment_size: Option<usize>) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.enable_sni = sni;
        config.max_fragment_size = max_fragment_size;
        let name = ServerName::try_from("aaa.bbb.ccc.d").unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    fn with_name(mut hello: Vec<u8>, name: &[u8; 13]) -> Vec<u8> {
        let at = hello.windows(13).position(|w| w == b"aaa.bbb.ccc.d").unwrap();
        hello[at..at + 13].copy_from_slice(name);
        hello
    }

    /// Reads a hello that comes in pieces, then the client's end.
    async fn given(bytes: &[u8], piece: usize) -> Result<Hello<tokio::io::DuplexStream>, HelloError> {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let send = async {
            for piece in bytes.chunks(piece) {
                // It fails when the reader has refused, which it tells itself.
                let _ = client.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        tokio::join!(read(server), send).0
    }

    #[tokio::test]
    async fn the_name_is_told_from_its_absence_and_from_what_is_none() {
        for piece in [1, 100, 100_000] {
            for fragment in [None, Some(64)] {
                let hello = client_hello(true, fragment);
                let Ok(Hello::Named(start)) = given(&hello, piece).await else {
                    panic!("{piece} {fragment:?}")
                };
                assert_eq!(start.client_hello().server_name(), Some("aaa.bbb.ccc.d"));
                let hello = client_hello(false, fragment);
                assert!(
                    matches!(given(&hello, piece).await, Ok(Hello::Nameless(_))),
                    "{piece} {fragment:?}"
                );
            }
        }
        let upper = with_name(client_hello(true, None), b"AAA.bbb.CCC.d");
        let Ok(Hello::Named(start)) = given(&upper, 100_000).await else {
            panic!("a name")
        };
        assert_eq!(start.client_hello().server_name(), Some("aaa.bbb.ccc.d"));
        for bad in [
            b"127.100.200.1",
            b"2001:db8::7:1",
            b"aaa bbb!ccc d",
            b"aaa..bb.ccc.d",
            b"\xff\xfe\0..........",
            b"aaa.bbb.ccc.-",
        ] {
            let hello = with_name(client_hello(true, None), bad);
            assert!(
                matches!(given(&hello, 100_000).await, Ok(Hello::BadName(_))),
                "{}",
                bad.escape_ascii()
            );
        }
    }

    #[tokio::test]
    async fn what_is_no_hello_is_told_so_and_an_early_end_is_no_error_of_ours() {
        let hello = client_hello(true, None);
        for cut in [3, 5, 40, hello.len() - 1] {
            assert!(
                matches!(given(&hello[..cut], 100).await, Err(HelloError::Gone)),
                "{cut}"
            );
        }
        assert!(matches!(given(b"", 100).await, Err(HelloError::Silent)));

        // A handshake message of 60 KiB, announced and begun.
        let mut long = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0xf0, 0];
        long.resize(5 + 0x4000, 0);
        long.extend_from_slice(&long.clone());
        assert!(matches!(given(&long, 5000).await, Err(HelloError::Invalid(_))));
    }

    /// Sends bytes to the reader; gives what it answers until it closes.
    async fn told(bytes: &[u8]) -> Vec<u8> {
        let (mut client, server) = tokio::io::duplex(128 * 1024);
        let talk = async {
            client.write_all(bytes).await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            drop(client);
            answer
        };
        let (got, answer) = tokio::join!(read(server), talk);
        assert!(matches!(got, Err(HelloError::Invalid(_))), "{}", answer.escape_ascii());
        answer
    }

    #[tokio::test]
    async fn what_is_wrong_with_the_first_message_is_told_by_an_alert() {
        use AlertDescription::{DecodeError, ProtocolVersion, RecordOverflow, UnexpectedMessage};
        let record = |kind: u8, payload: &[u8]| {
            let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
            [&[kind, 3, 3][..], &length, payload].concat()
        };
        let mut all = vec![
            (record(0x14, &[1]), UnexpectedMessage),
            (record(0x17, b"data"), UnexpectedMessage),
            (record(0x18, &[1, 0]), UnexpectedMessage),
            (record(0x63, &[0]), UnexpectedMessage),
            ([&[0x16, 3, 3, 0xff, 0xff][..], &[0; 600]].concat(), RecordOverflow),
            (record(0x16, &[1, 0xff, 0xff, 0xff, 3, 3]), DecodeError),
            ([&[0x16, 9, 9, 0, 4][..], &[1, 0, 0, 0]].concat(), ProtocolVersion),
        ];
        // Handshake messages that are no ClientHello.
        all.extend(
            (0..=255)
                .filter(|kind| *kind != 1)
                .map(|kind| (record(0x16, &[kind, 0, 0, 0]), UnexpectedMessage)),
        );
        for (sent, alert) in all {
            let answer = told(&sent).await;
            assert_eq!(
                answer[..3],
                [0x15, 3, 3],
                "{}",
                sent[..9.min(sent.len())].escape_ascii()
            );
            let got = (answer.len(), answer[5]);
            assert_eq!(got, (7, 2), "one fatal alert: {}", answer.escape_ascii());
            // rustls chooses for what it can parse: DecodeError for messages that are cut short.
            assert!(
                [u8::from(alert), u8::from(DecodeError)].contains(&answer[6]),
                "{}: {}",
                sent[..9.min(sent.len())].escape_ascii(),
                answer[6]
            );
        }
    }

    #[tokio::test]
    async fn a_hello_that_is_too_long_is_told_so() {
        for length in [20_000usize, 64_000] {
            let mut message = vec![1, 0];
            message.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            message.resize(4 + length, 0);
            let mut records = Vec::new();
            for part in message.chunks(0x4000) {
                records.extend_from_slice(&[0x16, 3, 1]);
                records.extend_from_slice(&u16::try_from(part.len()).unwrap().to_be_bytes());
                records.extend_from_slice(part);
            }
            let answer = told(&records).await;
            assert_eq!(answer, alert::fatal(AlertDescription::DecodeError), "{length}");
        }
    }

    #[tokio::test]
    async fn plain_http_is_told_in_plain_http() {
        for sent in [
            &b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"[..],
            b"POST /u/x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n",
            b"OPTIO",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            let answer = String::from_utf8(told(sent).await).unwrap();
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains(&format!("Content-Length: {}\r\n", body.len())),
                "{answer}"
            );
            assert!(body.contains("https://"), "{answer}");
        }
        assert_eq!(told(b"PROXY TCP4 192.0.2.7").await[..3], [0x15, 3, 3]);
    }

    #[test]
    fn looking_for_the_name_never_panics() {
        let hello = client_hello(true, None);
        assert!(has_server_name(&hello));
        assert!(!has_server_name(&client_hello(false, None)));
        for cut in 0..hello.len() {
            has_server_name(&hello[..cut]);
        }
        for i in 0..hello.len() {
            let mut bad = hello.clone();
            bad[i] = 0xff;
            has_server_name(&bad);
        }
    }
}
