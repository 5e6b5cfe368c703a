//! A stream that can be waited on without a buffer.

use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::tls::acceptor::TlsIo;

/// A stream whose owner may wait for bytes without having room for them.
pub trait Waitable: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Resolves when there may be something to read, the end included; also without cause. What was read
    /// from below and not handed out does not count: read until [`Poll::Pending`] first.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;
}

impl Waitable for TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        // An error shows in the read that follows.
        self.poll_read_ready(cx).map(drop)
    }
}

impl Waitable for TlsIo {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.get_ref().0.poll_readable(cx)
    }
}

/// The tests' connections never have to be waited for.
#[cfg(test)]
impl Waitable for tokio::io::DuplexStream {
    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}
