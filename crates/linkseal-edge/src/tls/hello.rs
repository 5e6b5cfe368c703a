//! The ClientHello, read before the handshake: its name selects the certificate.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::server::Acceptor;
use rustls::{AlertDescription, PeerMisbehaved};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::alert;

/// The longest ClientHello accepted, in bytes on the wire. With post-quantum shares and a ticket they have
/// 2 to 3 KiB.
const MAX_HELLO: usize = 16 * 1024;
/// Initial buffer in bytes; enough for most.
const USUAL_HELLO: usize = 2048;

/// A ClientHello, by the name in it.
pub(super) enum Hello<IO> {
    /// It has a host name in lower-case ASCII, not yet checked to be a domain name.
    Named(StartHandshake<IO>),
    /// It has no server_name extension.
    Nameless(StartHandshake<IO>),
    /// It has one that holds an address or no host name (RFC 6066 §3). No alert was sent yet.
    BadName(IO),
}

/// Why there is no usable ClientHello.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelloError {
    /// The client closed or reset without a single byte: a balancer's health check, a port scan.
    #[error("the client closed without sending anything")]
    Silent,
    /// The client closed or reset before it was complete.
    #[error("the client closed before its ClientHello was complete")]
    Gone,
    /// It is not a ClientHello, or not one that rustls accepts. An alert was sent.
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
            // rustls does not tell an address from a missing extension.
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
        // Longer than [`MAX_HELLO`], or than rustls' buffer.
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

/// The answer to a browser or proxy that speaks plain HTTP to this port.
const PLAIN_HTTP: &str = "HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 84\r\n\
    Cache-Control: no-store\r\n\
    Connection: close\r\n\
    \r\n\
    This port speaks HTTPS, and the request came as plain HTTP. Use a URL with https://\n";

/// Whether the first bytes look like an HTTP request.
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
    // rustls rejects what is not a record after five bytes; there may be no more yet.
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

/// A connection that records what is read from it and withholds what rustls writes: for a bad name the
/// edge sends its own alert.
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

/// Whether a ClientHello, which rustls has found well-formed, has a server_name extension (RFC 8446 §4.1.2,
/// RFC 6066 §3). `records`: the bytes on the wire.
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

/// The concatenated payloads of TLS records (RFC 8446 §5.1).
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
mod tests;
