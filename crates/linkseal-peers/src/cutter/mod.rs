//! A TCP proxy that fails on purpose: between linkseal and PostgreSQL (without TLS, to see a COMMIT), or
//! in front of anything else.

mod scan;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use scan::Scanner;

use crate::ports::free_port;
use crate::wait::until;

const BUFFER_BYTES: usize = 16 << 10;

/// What happens to connections: to new ones and, where it says so, to open ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Both get through.
    Pass,
    /// The port is closed to new connections; open ones go on.
    Refuse,
    /// New and open connections are reset.
    Reset,
    /// New and open connections stay open, and nothing gets through this way. What was sent arrives when
    /// the mode changes, as after a partition that TCP outlives.
    Hold(Way),
    /// Each connection, new or open, is reset after this many more bytes this way.
    CutAfter(Way, u64),
    /// Whatever is read from either side is passed on after this time.
    Delay(Duration),
    /// The next COMMITs up to this number, on new and open connections, meet this fault; then, [`Mode::Pass`].
    /// A client must wait for the answers to what it sent before it sends COMMIT.
    OnCommit(CommitFault, u32),
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
    /// Either.
    Both,
}

/// What happens to a COMMIT, whose outcome the client then does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFault {
    /// The connection is reset before the server gets it: not committed.
    Lost,
    /// The connection is reset when the server answers: committed, unless the server refused.
    AnswerCut,
    /// The server answers, and nothing on this connection reaches the client any more.
    AnswerSwallowed,
}

/// How often something was done to connections since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that were reset: by [`Mode::Reset`] or [`Cutter::break_all`].
    pub reset: u64,
    /// Reads that were held.
    pub held: u64,
    /// Connections that were cut after a number of bytes.
    pub cut: u64,
    /// Reads that were delayed.
    pub delayed: u64,
    /// COMMITs that met a fault.
    pub commits: u64,
}

/// A proxy in front of one address. Its connections are closed on drop.
#[derive(Debug)]
pub struct Cutter {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// The task that accepts connections, unless the port is closed.
    accepting: Mutex<JoinSet<()>>,
    open: Open,
}

/// The tasks of open connections.
type Open = Arc<StdMutex<JoinSet<()>>>;

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Changes when all open connections are to be reset.
    broken: watch::Sender<()>,
    counts: StdMutex<Counts>,
}

impl Cutter {
    /// Listens on a free port of 127.0.0.1, in [`Mode::Pass`].
    pub async fn start(target: SocketAddr) -> Self {
        let cutter = Self {
            address: free_port(),
            shared: Arc::new(Shared {
                target,
                mode: watch::Sender::new(Mode::Pass),
                broken: watch::Sender::new(()),
                counts: StdMutex::default(),
            }),
            accepting: Mutex::default(),
            open: Open::default(),
        };
        cutter.set(Mode::Pass).await;
        cutter
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Changes the mode. It holds for every connection that begins after this returns.
    pub async fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
        let mut accepting = self.accepting.lock().await;
        // A process that another test is starting has a copy of every socket, until it runs its program:
        // the port may close a little later than here.
        if mode == Mode::Refuse {
            // The listener goes with its task.
            accepting.shutdown().await;
            let closed = async || TcpStream::connect(self.address).await.err().map(drop);
            until("the port is closed", closed).await;
        } else if accepting.is_empty() {
            let bind = async || TcpListener::bind(self.address).await.ok();
            let listener = until("the port is free", bind).await;
            accepting.spawn(accept(listener, Arc::clone(&self.shared), Arc::clone(&self.open)));
        }
        if mode == Mode::Reset {
            self.break_all().await;
        }
    }

    /// Resets all open connections and waits until that is done.
    pub async fn break_all(&self) {
        let mut open = std::mem::take(&mut *lock(&self.open));
        self.shared.broken.send_replace(());
        while open.join_next().await.is_some() {}
    }

    /// The faults so far.
    pub fn counts(&self) -> Counts {
        *lock(&self.shared.counts)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, open: Open) {
    loop {
        // An error is that of one connection, gone before it was accepted.
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        shared.count(|c| c.accepted += 1);
        let mut open = lock(&open);
        while open.try_join_next().is_some() {}
        open.spawn(serve(Arc::clone(&shared), client, shared.broken.subscribe()));
    }
}

/// Why a connection ends before both sides have closed it: both are reset.
struct Reset;

async fn serve(shared: Arc<Shared>, mut client: TcpStream, mut broken: watch::Receiver<()>) {
    let mut server = None;
    let passed = async {
        if *shared.mode.borrow() == Mode::Reset {
            shared.count(|c| c.reset += 1);
            return Err(Reset);
        }
        let server = server.insert(TcpStream::connect(shared.target).await.map_err(|_| Reset)?);
        // As without a proxy: nothing waits for more to send.
        for stream in [&client, &*server] {
            stream.set_nodelay(true).map_err(|_| Reset)?;
        }
        pass_both(&shared, &mut client, server).await
    };
    let ended = tokio::select! {
        ended = passed => ended,
        _ = broken.changed() => {
            shared.count(|c| c.reset += 1);
            Err(Reset)
        }
    };
    if ended.is_err() {
        for stream in server.iter().chain([&client]) {
            // Closing it then sends RST. It fails when the peer has reset it already.
            drop(stream.set_zero_linger());
        }
    }
}

async fn pass_both(shared: &Shared, client: &mut TcpStream, server: &mut TcpStream) -> Result<(), Reset> {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let (fault, met) = watch::channel(None);
    let requests = async {
        let mut gate = Gate::new(shared, Way::ToServer);
        let mut scanner = Scanner::default();
        pass(&mut gate, &mut from_client, &mut to_server, |chunk| {
            // Bytes of a COMMIT that are not the last may be at the server, which waits for the rest.
            if scanner.completes_commit(chunk) {
                fault.send_replace(shared.take_commit_fault());
            }
            match *fault.borrow() {
                Some(CommitFault::Lost) => Err(Reset),
                _ => Ok(true),
            }
        })
        .await
    };
    let answers = async {
        let mut gate = Gate::new(shared, Way::ToClient);
        pass(&mut gate, &mut from_server, &mut to_client, |_| match *met.borrow() {
            Some(CommitFault::AnswerCut) => Err(Reset),
            Some(CommitFault::AnswerSwallowed) => Ok(false),
            _ => Ok(true),
        })
        .await
    };
    tokio::try_join!(requests, answers).map(drop)
}

/// Passes bytes on to the end of the stream. `look` decides about each read before it is passed on:
/// whether it is.
async fn pass(
    gate: &mut Gate<'_>,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut look: impl FnMut(&[u8]) -> Result<bool, Reset>,
) -> Result<(), Reset> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        // One side's reset is passed on to the other.
        let length = from.read(&mut buffer).await.map_err(|_| Reset)?;
        let (allowed, cut) = gate.admit(length).await;
        if length == 0 {
            return to.shutdown().await.map_err(|_| Reset);
        }
        let chunk = &buffer[..allowed];
        if look(chunk)? {
            to.write_all(chunk).await.map_err(|_| Reset)?;
        }
        if cut {
            return Err(Reset);
        }
    }
}

/// What the mode lets through in one direction of one connection.
struct Gate<'a> {
    shared: &'a Shared,
    way: Way,
    modes: watch::Receiver<Mode>,
    /// Bytes let through in this mode.
    passed: u64,
}

impl<'a> Gate<'a> {
    fn new(shared: &'a Shared, way: Way) -> Self {
        let modes = shared.mode.subscribe();
        let passed = 0;
        Self {
            shared,
            way,
            modes,
            passed,
        }
    }

    /// Waits until bytes that were read may be passed on. Returns how many of them, and whether the
    /// connection is cut then.
    async fn admit(&mut self, length: usize) -> (usize, bool) {
        let mut held = false;
        loop {
            let mode = {
                let mode = self.modes.borrow_and_update();
                if mode.has_changed() {
                    self.passed = 0;
                }
                *mode
            };
            match mode {
                Mode::Hold(way) if way.includes(self.way) => {
                    if !std::mem::replace(&mut held, true) {
                        self.shared.count(|c| c.held += 1);
                    }
                    // The sender lives as long as the connection.
                    drop(self.modes.changed().await);
                }
                Mode::CutAfter(way, limit) if way.includes(self.way) => {
                    let left = usize::try_from(limit - self.passed).unwrap_or(usize::MAX);
                    let cut = length >= left;
                    let allowed = length.min(left);
                    self.passed += allowed as u64;
                    if cut {
                        self.shared.count(|c| c.cut += 1);
                    }
                    return (allowed, cut);
                }
                Mode::Delay(delay) => {
                    self.shared.count(|c| c.delayed += 1);
                    tokio::time::sleep(delay).await;
                    return (length, false);
                }
                _ => return (length, false),
            }
        }
    }
}

impl Way {
    fn includes(self, other: Self) -> bool {
        self == Self::Both || self == other
    }
}

impl Shared {
    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut lock(&self.counts));
    }

    /// The fault of a COMMIT that has just been seen, if one is left.
    fn take_commit_fault(&self) -> Option<CommitFault> {
        let mut taken = None;
        self.mode.send_if_modified(|mode| {
            let Mode::OnCommit(fault, times) = *mode else {
                return false;
            };
            taken = (times > 0).then_some(fault);
            *mode = match times {
                0 | 1 => Mode::Pass,
                _ => Mode::OnCommit(fault, times - 1),
            };
            true
        });
        if taken.is_some() {
            self.count(|c| c.commits += 1);
        }
        taken
    }
}

fn lock<T>(mutex: &StdMutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
