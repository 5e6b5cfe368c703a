//! A TCP proxy that a test switches between forwarding, stalling and closing: a healthy peer, a
//! stuck one, and a firewall.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to connections. Stalled ones follow a change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Forwarded to this address.
    Open(SocketAddr),
    /// Accepted, then nothing happens.
    Stalled,
    /// Closed at once.
    Closed,
}

/// Runs until the test's runtime ends.
pub(crate) struct Gate {
    pub(crate) port: u16,
    state: watch::Sender<State>,
}

impl Gate {
    /// Listens on a port of 127.0.0.1 (0 picks a free one), stalled at first.
    pub(crate) async fn stalled(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port");
        let port = listener.local_addr().expect("an address").port();
        let (state, changes) = watch::channel(State::Stalled);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(forward(stream, changes.clone()));
            }
        });
        Self { port, state }
    }

    pub(crate) fn open(&self, to: SocketAddr) {
        self.state.send_replace(State::Open(to));
    }

    pub(crate) fn stall(&self) {
        self.state.send_replace(State::Stalled);
    }

    pub(crate) fn close(&self) {
        self.state.send_replace(State::Closed);
    }
}

async fn forward(mut stream: TcpStream, mut state: watch::Receiver<State>) {
    let Ok(now) = state.wait_for(|s| *s != State::Stalled).await.map(|s| *s) else {
        return;
    };
    let State::Open(to) = now else { return };
    let Ok(mut inner) = TcpStream::connect(to).await else {
        return;
    };
    // Any change of state cuts an open connection, as a firewall does.
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut stream, &mut inner) => {}
        _ = state.wait_for(|s| *s != now) => {}
    }
}
