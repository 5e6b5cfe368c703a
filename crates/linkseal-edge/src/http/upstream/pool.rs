//! The connections to one back end: made when they are needed, kept for the next request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use linkseal_base::shutdown::Tasks;
use linkseal_net::shares::Room;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::connect::{ConnectError, Connected, Connector};
use super::health::{Change, Health, PAUSE};
use super::places::Places;
use super::upload::Upload;
use super::{Origin, UpstreamError};

/// How long an unused connection is kept. Common servers close theirs after 60 to 75 s; ours close first,
/// so that a request seldom meets a closing one.
const IDLE: Duration = Duration::from_secs(50);
/// Most unused connections kept.
const MAX_IDLE: usize = 64;
/// How long a connection may take to be ready again after a response.
const UNTIL_READY: Duration = Duration::from_secs(1);
/// Complete answers that wait for their clients, each about 64 KiB at most.
const MAX_PARKED: usize = 1024;
/// Largest head of a response, in bytes: room for many cookies.
const MAX_HEAD: usize = 64 * 1024;
/// Bytes in flight from the back end, per HTTP/2 stream and per connection: what a slow client makes us buffer.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Bytes in flight to the back end, per HTTP/2 stream.
const SEND_BUFFER: usize = 64 * 1024;
/// HTTP/2: how often a connection in use is pinged, and how long the answer may take.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);

/// A back end with its connections. Rules with an equal [`Origin`] share it.
pub(in crate::http) struct Backend {
    pub(in crate::http) origin: Origin,
    connector: Connector,
    health: Mutex<Health>,
    /// Unused HTTP/1.1 connections, the last used one at the end.
    idle: Mutex<Vec<Idle>>,
    /// Whether the task that closes unused connections runs.
    reaped: AtomicBool,
    /// The HTTP/2 connection, shared by all requests.
    h2: Mutex<Option<http2::SendRequest<Upload>>>,
    /// Only one request at a time connects over HTTP/2; the others then share its connection.
    h2_turn: tokio::sync::Mutex<()>,
    speaks_h2: AtomicBool,
    pub(in crate::http) places: Places,
    /// Complete answers that their clients have not read yet.
    pub(in crate::http) parked: Room,
    pub(in crate::http) tasks: Tasks,
}

struct Idle {
    sender: http1::SendRequest<Upload>,
    since: Instant,
}

/// A connection for one request.
pub(in crate::http) struct Link {
    sender: Sender,
    /// Whether it comes from the pool: it may turn out to be dead.
    pub(in crate::http) reused: bool,
}

enum Sender {
    H1(http1::SendRequest<Upload>),
    H2(http2::SendRequest<Upload>),
}

/// The result of sending: an error returns the request if it was not sent.
pub(in crate::http) type Sent = Result<Response<Incoming>, TrySendError<Request<Upload>>>;

impl Link {
    pub(in crate::http) fn is_h2(&self) -> bool {
        matches!(self.sender, Sender::H2(_))
    }

    pub(in crate::http) fn send(
        &mut self,
        request: Request<Upload>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Sent> + Send>> {
        match &mut self.sender {
            Sender::H1(sender) => Box::pin(sender.try_send_request(request)),
            Sender::H2(sender) => Box::pin(sender.try_send_request(request)),
        }
    }
}

impl Backend {
    pub(in crate::http) fn new(origin: Origin, tasks: &Tasks) -> Result<Self, UpstreamError> {
        Ok(Self {
            connector: Connector::new(&origin)?,
            health: Mutex::default(),
            idle: Mutex::default(),
            reaped: AtomicBool::new(false),
            h2: Mutex::default(),
            h2_turn: tokio::sync::Mutex::default(),
            speaks_h2: AtomicBool::new(false),
            places: Places::new(origin.max_concurrent, origin.max_per_network),
            parked: Room::new(MAX_PARKED, MAX_PARKED / 4),
            tasks: tasks.clone(),
            origin,
        })
    }

    /// A connection from the pool, or a new one if there is none or `fresh` is set.
    pub(in crate::http) async fn link(&self, fresh: bool) -> Result<Link, ConnectError> {
        if !fresh && let Some(link) = self.kept() {
            return Ok(link);
        }
        if !self.speaks_h2.load(Ordering::Relaxed) {
            return self.connect().await;
        }
        let _turn = self.h2_turn.lock().await;
        match self.kept() {
            // Made by the request that had the turn before.
            Some(link) => Ok(link),
            None => self.connect().await,
        }
    }

    fn kept(&self) -> Option<Link> {
        let shared = {
            let mut h2 = self.h2.lock();
            h2.take_if(|sender| sender.is_closed());
            h2.clone()
        };
        if let Some(sender) = shared {
            let sender = Sender::H2(sender);
            return Some(Link { sender, reused: true });
        }
        let mut idle = self.idle.lock();
        while let Some(Idle { sender, since }) = idle.pop() {
            if sender.is_ready() && since.elapsed() < IDLE {
                let sender = Sender::H1(sender);
                return Some(Link { sender, reused: true });
            }
        }
        None
    }

    async fn connect(&self) -> Result<Link, ConnectError> {
        if !self.health.lock().admits(Instant::now()) {
            return Err(ConnectError::Down);
        }
        let made = match self.connector.connect().await {
            Ok(connected) => self.speak(connected).await,
            Err(error) => Err(error),
        };
        let change = match &made {
            Ok(_) => self.health.lock().succeeded(),
            Err(_) => self.health.lock().failed(Instant::now()),
        };
        match (change, &made) {
            (Change::Down, Err(error)) => tracing::warn!(
                upstream = %self.origin.to,
                "back end unreachable: {error}; failing requests at once, retrying every {} s",
                PAUSE.as_secs()
            ),
            (Change::Up, _) => tracing::warn!(upstream = %self.origin.to, "back end reachable again"),
            _ => {}
        }
        made
    }

    /// Starts HTTP on a new connection.
    async fn speak(&self, connected: Connected) -> Result<Link, ConnectError> {
        let io = TokioIo::new(connected.io);
        let sender = if connected.h2 {
            let (sender, connection) = http2::Builder::new(UntilStop(self.tasks.clone()))
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_send_buf_size(SEND_BUFFER)
                .max_header_list_size(MAX_HEAD as u32)
                .keep_alive_interval(PING)
                .keep_alive_timeout(PONG)
                .handshake(io)
                .await?;
            self.drive(connection);
            self.speaks_h2.store(true, Ordering::Relaxed);
            *self.h2.lock() = Some(sender.clone());
            Sender::H2(sender)
        } else {
            let (sender, connection) = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(io).await?;
            self.drive(connection);
            // It may have spoken HTTP/2 before: requests need not wait for a turn any more.
            self.speaks_h2.store(false, Ordering::Relaxed);
            Sender::H1(sender)
        };
        Ok(Link { sender, reused: false })
    }

    fn drive<C>(&self, connection: C)
    where
        C: Future<Output = hyper::Result<()>> + Send + 'static,
    {
        let to = self.origin.to.clone();
        self.tasks.spawn_until_stop(async move {
            if let Err(error) = connection.await {
                tracing::debug!(upstream = %to, %error, "connection ended");
            }
        });
    }

    /// Takes a connection back whose response has been read to its end.
    pub(in crate::http) fn give_back(self: &Arc<Self>, link: Link) {
        let Sender::H1(mut sender) = link.sender else { return };
        if sender.is_closed() {
            return;
        }
        if sender.is_ready() {
            return self.keep(sender);
        }
        // Its task has not seen the end yet, or it still sends a body that is not waited for.
        let pool = Arc::downgrade(self);
        self.tasks.spawn_until_stop(async move {
            if let Ok(Ok(())) = timeout(UNTIL_READY, sender.ready()).await
                && let Some(pool) = Weak::upgrade(&pool)
            {
                pool.keep(sender);
            }
        });
    }

    fn keep(self: &Arc<Self>, sender: http1::SendRequest<Upload>) {
        let mut idle = self.idle.lock();
        if idle.len() >= MAX_IDLE {
            // The one that has been unused the longest.
            idle.remove(0);
        }
        let since = Instant::now();
        idle.push(Idle { sender, since });
        drop(idle);
        if !self.reaped.swap(true, Ordering::AcqRel) {
            self.tasks.spawn_until_stop(reap(Arc::downgrade(self)));
        }
    }
}

/// Closes unused connections, until there are none.
async fn reap(pool: Weak<Backend>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle.lock();
        idle.retain(|i| i.since.elapsed() < IDLE && !i.sender.is_closed());
        if idle.is_empty() {
            // Under the lock: the next connection that is kept starts a new task.
            pool.reaped.store(false, Ordering::Release);
            return;
        }
    }
}

/// Runs HTTP/2 streams among the tasks of the back ends, which end at shutdown.
#[derive(Clone)]
struct UntilStop(Tasks);

impl<F> hyper::rt::Executor<F> for UntilStop
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn_until_stop(stream);
    }
}
