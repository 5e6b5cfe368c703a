//! The connections to one back end, and the places that requests hold at it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use linkseal_base::shutdown::Tasks;
use linkseal_net::shares::Room;
use linkseal_net::shares::Turn;
use linkseal_net::shares::Turns;
use linkseal_net::shares::network;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::connect::{ConnectError, Connected, Connector};
use super::health::{Change, Health, PAUSE};
use super::upload::Upload;
use super::{Origin, UpstreamError};

/// How long an unused connection is kept. Common servers close theirs after 60 to 75 s; ours close first,
/// so that a request seldom meets a closing one.
const IDLE: Duration = Duration::from_secs(50);
/// Most unused connections kept.
const MAX_IDLE: usize = 64;
/// How long a connection may take to be ready again after a response.
const UNTIL_READY: Duration = Duration::from_secs(1);
/// How long a request waits while its network has its share: the images of a page follow one another.
const TURN: Duration = Duration::from_secs(5);
/// How long a request waits for the place of another that makes way.
const WAY_MADE: Duration = Duration::from_secs(1);
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
    room: Arc<Semaphore>,
    /// Each client network's share of `room`.
    turns: Turns,
    /// Requests that may wait for their clients, and then make way for others.
    by_clients: Mutex<Vec<(IpAddr, Arc<dyn Yields>)>>,
    /// Complete answers that their clients have not read yet.
    pub(in crate::http) parked: Room,
    pub(in crate::http) tasks: Tasks,
}

/// The right to one request at a back end.
pub(in crate::http) struct Place {
    pub(in crate::http) client: IpAddr,
    _turn: Turn,
    _room: OwnedSemaphorePermit,
}

/// A transfer at the speed of its client, which makes way where places are short.
pub(in crate::http) trait Yields: Send + Sync {
    /// Since when the client is waited for, if it is.
    fn awaits_client(&self) -> Option<Instant>;
    /// Gives the place up.
    fn displace(&self);
    /// How many places more than the newcomer's network its own must have before it makes way.
    fn more_than_newcomer(&self) -> usize;
}

/// A request that may have to make way.
pub(in crate::http) struct Yielding {
    backend: Arc<Backend>,
    part: Arc<dyn Yields>,
}

impl Drop for Yielding {
    fn drop(&mut self) {
        self.backend
            .by_clients
            .lock()
            .retain(|(_, other)| !Arc::ptr_eq(other, &self.part));
    }
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
            room: Arc::new(Semaphore::new(origin.max_concurrent.min(Semaphore::MAX_PERMITS))),
            turns: Turns::new(origin.max_per_network),
            by_clients: Mutex::default(),
            parked: Room::new(MAX_PARKED, MAX_PARKED / 4),
            tasks: tasks.clone(),
            origin,
        })
    }

    /// A place for one request. Requests of a network that has its share wait for one of its places. When all
    /// places are taken, a request that waits for its client makes way. `None` if there is no place.
    pub(in crate::http) async fn place(&self, client: IpAddr) -> Option<Place> {
        if self.room.available_permits() == 0 && self.by_clients.lock().is_empty() {
            return None;
        }
        let turn = timeout(TURN, self.turns.take(client)).await.ok()??;
        let room = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(room) => room,
            Err(_) if self.makes_way(client) => {
                let room = Arc::clone(&self.room).acquire_owned();
                timeout(WAY_MADE, room).await.ok()?.ok()?
            }
            Err(_) => return None,
        };
        Some(Place {
            client,
            _turn: turn,
            _room: room,
        })
    }

    /// Makes one request give up its place: of the networks with more places than the newcomer's, the network
    /// with the most requests that wait for their clients loses the one that waits the longest.
    fn makes_way(&self, newcomer: IpAddr) -> bool {
        // The newcomer's own turn is not counted.
        let own = self.turns.held(newcomer).saturating_sub(1);
        let mut by_clients = self.by_clients.lock();
        let waiting: Vec<_> = by_clients
            .iter()
            .enumerate()
            .filter_map(|(at, (network, part))| Some((at, *network, part.awaits_client()?)))
            .collect();
        let mut counts = HashMap::<IpAddr, usize>::new();
        for (_, network, _) in &waiting {
            *counts.entry(*network).or_default() += 1;
        }
        let has = |network| counts.get(network).copied().unwrap_or_default();
        let chosen = waiting
            .iter()
            .filter(|(at, network, _)| {
                let more = by_clients.get(*at).map_or(0, |(_, part)| part.more_than_newcomer());
                has(network) >= own + more
            })
            .min_by_key(|(_, network, since)| (Reverse(has(network)), *since));
        let Some((at, ..)) = chosen else { return false };
        let (_, part) = by_clients.swap_remove(*at);
        part.displace();
        true
    }

    /// Lets a request make way for others while it waits for its client, until the result is dropped.
    pub(in crate::http) fn yields(self: &Arc<Self>, client: IpAddr, part: Arc<dyn Yields>) -> Yielding {
        self.by_clients.lock().push((network(client), Arc::clone(&part)));
        Yielding {
            backend: Arc::clone(self),
            part,
        }
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
