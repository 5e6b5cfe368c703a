//! A plain HTTP server whose answers a test decides.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Maps a request's target to status and body; `None` leaves the request unanswered and the
/// connection open.
type Respond = dyn Fn(&str) -> Option<(u16, String)> + Send + Sync;

/// Runs until the test's runtime ends.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
}

impl Origin {
    pub(crate) async fn start(respond: impl Fn(&str) -> Option<(u16, String)> + Send + Sync + 'static) -> Self {
        Self::start_on(0, respond).await
    }

    /// Starts on a given port (0 picks a free one).
    pub(crate) async fn start_on(
        port: u16,
        respond: impl Fn(&str) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let respond: Arc<Respond> = Arc::new(respond);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&respond)));
            }
        });
        Self { address }
    }
}

async fn serve(mut stream: TcpStream, respond: Arc<Respond>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.split(' ').nth(1).unwrap_or_default();
    let Some((status, body)) = respond(target) else {
        return std::future::pending().await;
    };
    let length = body.len();
    let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
