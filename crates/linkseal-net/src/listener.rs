//! Listening sockets: bound before anything runs, then accepted from until shutdown.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// Length of the kernel's accept queue; a mailing brings thousands of connections at once. The kernel
/// caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Pause after a failed accept, usually for lack of descriptors: some must be closed first.
const REST: Duration = Duration::from_millis(100);
/// How often a lasting failure to accept is logged.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The listener a connection came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    /// Plain HTTP: challenges, redirects to HTTPS, tracking while a certificate is pending.
    Http,
    Https,
}

impl Listener {
    /// The label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A listener with its real address, ready to run.
#[derive(Debug)]
pub struct Bound {
    kind: Listener,
    socket: TcpListener,
    local: SocketAddr,
}

/// A connection just accepted.
#[derive(Debug)]
pub struct Accepted {
    pub stream: TcpStream,
    /// The socket's peer. IPv4 addresses are IPv4, also on a dual-stack listener.
    pub peer: SocketAddr,
    /// The address the peer connected to.
    pub local: SocketAddr,
    pub listener: Listener,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "cannot listen on {0}: the address is in use by another process; stop it, or set another address under `listen`"
    )]
    InUse(SocketAddr),
    #[error(
        "cannot listen on {0}: not permitted; ports below 1024 need CAP_NET_BIND_SERVICE (or a socket handed in by systemd)"
    )]
    Forbidden(SocketAddr),
    #[error("cannot listen on {0}: no interface of this machine has that address")]
    NotOurs(SocketAddr),
    #[error("cannot listen on {0}: {1}")]
    Io(SocketAddr, io::Error),
    /// A socket that was handed in is not a listening TCP socket.
    #[error("a socket handed in for {kind} cannot be used: {error}", kind = .0.label(), error = .1)]
    Inherited(Listener, io::Error),
}

/// Binds an address. Port 0 picks a free port; `[::]` accepts IPv4 too. Needs a tokio runtime.
pub fn bind(kind: Listener, address: SocketAddr) -> Result<Bound, BindError> {
    let bound = listen(address).and_then(|socket| Bound::new(kind, socket));
    bound.map_err(|e| BindError::of(address, e))
}

/// Binds an address that is not the edge's: the admin and health ports.
pub fn bind_socket(address: SocketAddr) -> Result<TcpListener, BindError> {
    let socket = listen(address).and_then(|socket| {
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket)
    });
    socket.map_err(|e| BindError::of(address, e))
}

impl BindError {
    fn of(address: SocketAddr, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::PermissionDenied => Self::Forbidden(address),
            io::ErrorKind::AddrNotAvailable => Self::NotOurs(address),
            _ => Self::Io(address, error),
        }
    }
}

/// Takes over a socket that is listening already, inherited from systemd or a test.
fn inherit(kind: Listener, socket: std::net::TcpListener) -> Result<Bound, BindError> {
    Bound::new(kind, socket).map_err(|e| BindError::Inherited(kind, e))
}

/// Listening sockets handed in by systemd (sd_listen_fds(3)) or another parent that keeps them open
/// across restarts, so that no connection is refused in between. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Inherited {
    sockets: Arc<Mutex<Vec<std::net::TcpListener>>>,
}

impl Inherited {
    pub fn new(sockets: Vec<std::net::TcpListener>) -> Self {
        Self {
            sockets: Arc::new(Mutex::new(sockets)),
        }
    }

    /// Takes over the socket that was handed in for an address, else binds the address.
    pub fn bind(&self, kind: Listener, address: SocketAddr) -> Result<Bound, BindError> {
        match self.take(address) {
            Some(socket) => inherit(kind, socket),
            None => bind(kind, address),
        }
    }

    /// The addresses of the sockets that were not taken over.
    pub fn left(&self) -> Vec<SocketAddr> {
        self.sockets().iter().filter_map(|s| s.local_addr().ok()).collect()
    }

    fn take(&self, address: SocketAddr) -> Option<std::net::TcpListener> {
        let mut sockets = self.sockets();
        let at = sockets
            .iter()
            .position(|s| s.local_addr().is_ok_and(|local| is_same(local, address)))?;
        Some(sockets.swap_remove(at))
    }

    fn sockets(&self) -> MutexGuard<'_, Vec<std::net::TcpListener>> {
        self.sockets.lock()
    }
}

/// Whether a socket's address is the configured one; `[::]` and `0.0.0.0` are the same.
fn is_same(local: SocketAddr, configured: SocketAddr) -> bool {
    let (local, configured) = (canonical(local), canonical(configured));
    local.port() == configured.port()
        && (local.ip() == configured.ip() || (local.ip().is_unspecified() && configured.ip().is_unspecified()))
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restart does not wait for old connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Bound {
    fn new(kind: Listener, socket: std::net::TcpListener) -> io::Result<Self> {
        // Accepted sockets inherit it, which saves a system call for each.
        SockRef::from(&socket).set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        Ok(Self {
            kind,
            socket: TcpListener::from_std(socket)?,
            local,
        })
    }

    pub fn kind(&self) -> Listener {
        self.kind
    }

    /// The socket, for accepting before [`Bound::share`].
    pub fn socket(&self) -> &TcpListener {
        &self.socket
    }

    /// The address it listens on, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The socket once for each of `count` runtimes that accept from it ([`Shared::run`]). What is in the
    /// kernel's queue is accepted by one of them.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn share(self, count: usize) -> io::Result<Vec<Shared>> {
        let Self { kind, socket, local } = self;
        let socket = socket.into_std()?;
        let mut all = Vec::with_capacity(count);
        for _ in 1..count {
            let socket = socket.try_clone()?;
            all.push(Shared { kind, socket, local });
        }
        all.push(Shared { kind, socket, local });
        Ok(all)
    }
}

/// A listener that several runtimes share.
#[derive(Debug)]
pub struct Shared {
    kind: Listener,
    socket: std::net::TcpListener,
    local: SocketAddr,
}

impl Shared {
    /// Accepts on this runtime until `stop`, then closes the socket. `serve` must not block: it spawns a
    /// task for the connection or drops it.
    pub async fn run(self, stop: CancellationToken, mut serve: impl FnMut(Accepted)) {
        let Self { kind, socket, local } = self;
        let socket = match TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => return error!(%local, %error, "cannot accept on a listener"),
        };
        let mut each = |(stream, peer): (TcpStream, SocketAddr)| {
            if let Some(accepted) = Accepted::of(kind, local, stream, peer) {
                serve(accepted);
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = accept_all(local, || socket.accept(), &mut each) => {}
        }
        // Their clients are connected already: closing the socket would reset them.
        accept_waiting(socket, each);
    }
}

impl Accepted {
    /// `None` if the peer is gone already.
    fn of(listener: Listener, bound: SocketAddr, stream: TcpStream, peer: SocketAddr) -> Option<Self> {
        // Only a listener on all addresses has to ask for the socket's own address.
        let local = if bound.ip().is_unspecified() {
            canonical(stream.local_addr().ok()?)
        } else {
            bound
        };
        Some(Self {
            stream,
            peer: canonical(peer),
            local,
            listener,
        })
    }
}

/// Accepts what is left in the kernel's queue, and closes the socket as soon as that is empty.
pub fn accept_waiting(socket: TcpListener, mut each: impl FnMut((TcpStream, SocketAddr))) {
    // Tokio's accept trusts its cached readiness; this asks the kernel.
    let Ok(socket) = socket.into_std() else { return };
    for _ in 0..BACKLOG {
        let accepted = match socket.accept() {
            Ok(accepted) => accepted,
            Err(e) if is_transient(&e) => continue,
            // The queue is empty, or there are no descriptors left.
            Err(_) => return,
        };
        let (stream, peer) = accepted;
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            each((stream, peer));
        }
    }
}

/// IPv4 addresses as IPv4: a dual-stack socket shows them mapped to IPv6 (RFC 4291 §2.5.5.2).
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Accepts until dropped: no error ends a listener.
pub async fn accept_all<T, F>(local: SocketAddr, mut accept: impl FnMut() -> F, mut each: impl FnMut(T))
where
    F: Future<Output = io::Result<T>>,
{
    let mut logged: Option<Instant> = None;
    loop {
        match accept().await {
            Ok(connection) => each(connection),
            Err(e) if is_transient(&e) => {}
            Err(e) => {
                if logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
                    warn!(%local, error = %e, "accept failed; retrying (check that LimitNOFILE exceeds edge.max_connections)");
                    logged = Some(Instant::now());
                }
                sleep(REST).await;
            }
        }
    }
}

/// Whether an error concerns only the connection being accepted (accept(2), "Error handling").
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable,
    };
    let kinds = [
        ConnectionAborted,
        ConnectionRefused,
        ConnectionReset,
        HostUnreachable,
        Interrupted,
        NetworkDown,
        NetworkUnreachable,
    ];
    kinds.contains(&error.kind())
}

#[cfg(test)]
mod tests;
