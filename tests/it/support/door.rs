//! A TCP port in front of another one, which a test opens, holds and shuts: how a firewall, a
//! stuck peer and a healed one look.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to a connection; those that wait follow a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is passed on.
    Open(SocketAddr),
    /// It is accepted and nothing more.
    Held,
    /// It is closed at once.
    Shut,
}

/// A door; it ends with the test's runtime.
pub(crate) struct Door {
    pub(crate) port: u16,
    state: watch::Sender<State>,
}

impl Door {
    /// A held one, on this port of 127.0.0.1. 0: on a free one.
    pub(crate) async fn held(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port");
        let port = listener.local_addr().expect("an address").port();
        let (state, seen) = watch::channel(State::Held);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass(stream, seen.clone()));
            }
        });
        Self { port, state }
    }

    pub(crate) fn open(&self, to: SocketAddr) {
        self.state.send_replace(State::Open(to));
    }

    pub(crate) fn hold(&self) {
        self.state.send_replace(State::Held);
    }

    pub(crate) fn shut(&self) {
        self.state.send_replace(State::Shut);
    }
}

async fn pass(mut stream: TcpStream, mut state: watch::Receiver<State>) {
    let Ok(now) = state.wait_for(|s| *s != State::Held).await.map(|s| *s) else {
        return;
    };
    let State::Open(to) = now else { return };
    let Ok(mut inner) = TcpStream::connect(to).await else {
        return;
    };
    // A connection that is open is cut by whatever comes, as a firewall does.
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut stream, &mut inner) => {}
        _ = state.wait_for(|s| *s != now) => {}
    }
}
