//! The connections of a node: a pool for work, and one apart for what must not wait behind it.
//!
//! With a full pool, leases would end while their holders work, and the followers of changes would fall
//! behind: both have connections of their own. While no server can be reached, calls fail at once, and one at a
//! time tries again, so that a database that comes back is not met by all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Object, Pool, PoolError, TimeoutType, Timeouts};
use linkseal_base::random;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::connection::{Connection, Connector};
use super::settings::{LEAST_CONNECTIONS, Settings};
use crate::StoreError;

/// Connections apart.
const APART: usize = 2;
/// How long a call waits for a connection that is free.
const WAIT: Duration = Duration::from_secs(5);
/// How long it takes at most to see whether a connection is still usable.
const RECYCLE: Duration = Duration::from_secs(1);
/// How long a call waits for a connection that is made, all servers tried.
const CREATE: Duration = Duration::from_secs(9);
/// Failures in a row after which calls fail at once.
const FAILURES: u32 = 3;
/// For how long they fail until one tries again: between the first and the second, the longer the more often it
/// has failed.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Work,
    /// Leases, heartbeats, the change feed.
    Apart,
}

/// Both pools.
pub(super) struct Pools {
    work: Pool<Connector>,
    apart: Pool<Connector>,
    /// That of connections that are usable.
    generation: Arc<AtomicU64>,
    breaker: Mutex<Breaker>,
}

impl Pools {
    pub(super) fn new(settings: &Settings) -> Result<Self, StoreError> {
        let generation = Arc::new(AtomicU64::new(0));
        let pool = |size| {
            Pool::builder(Connector::new(settings.clone(), Arc::clone(&generation)))
                .max_size(size)
                .timeouts(Timeouts {
                    wait: Some(WAIT),
                    create: Some(CREATE),
                    recycle: Some(RECYCLE),
                })
                .runtime(Runtime::Tokio1)
                .build()
                .map_err(|error| StoreError::Unavailable(error.to_string()))
        };
        Ok(Self {
            work: pool(settings.connections.max(LEAST_CONNECTIONS) - APART)?,
            apart: pool(APART)?,
            generation,
            breaker: Mutex::default(),
        })
    }

    /// A connection. An error means that nothing was done.
    pub(super) async fn get(&self, purpose: Purpose) -> Result<Object<Connector>, StoreError> {
        self.breaker.lock().enter(Instant::now())?;
        let pool = match purpose {
            Purpose::Work => &self.work,
            Purpose::Apart => &self.apart,
        };
        match pool.get().await {
            Ok(connection) => {
                self.breaker.lock().succeeded();
                Ok(connection)
            }
            // The server works, and has more to do than it can.
            Err(PoolError::Timeout(TimeoutType::Wait)) => Err(StoreError::Unavailable(format!(
                "all connections to PostgreSQL have been busy for {} s (store.connections allows more)",
                WAIT.as_secs()
            ))),
            Err(error) => {
                let why = match error {
                    PoolError::Timeout(_) => format!("no server answered within {} s", CREATE.as_secs()),
                    PoolError::Backend(error) => error.to_string(),
                    error => error.to_string(),
                };
                Err(self.breaker.lock().failed(why, Instant::now()))
            }
        }
    }

    /// Ends the use of all connections that were made before this one turned out to lead to a server that is
    /// about to end, or accepts no writes: those in use are not used again.
    pub(super) fn abandon(&self, connection: &Connection) {
        let (found, next) = (connection.generation(), connection.generation() + 1);
        let order = Ordering::Relaxed;
        // Those that others have made since stay.
        if self.generation.compare_exchange(found, next, order, order).is_ok() {
            for pool in [&self.work, &self.apart] {
                pool.retain(|_, _| false);
            }
        }
    }
}

/// Whether calls fail at once.
#[derive(Debug, Default)]
struct Breaker {
    /// In a row.
    failures: u32,
    /// Calls fail until then; the first one after it tries again. `None`: calls go through.
    closed_until: Option<Instant>,
    why: String,
}

impl Breaker {
    fn enter(&mut self, now: Instant) -> Result<(), StoreError> {
        let Some(until) = self.closed_until else { return Ok(()) };
        if now < until {
            return Err(self.error());
        }
        // This one tries; the others wait for what comes of it.
        self.closed_until = Some(now + self.pause());
        Ok(())
    }

    fn succeeded(&mut self) {
        if self.failures > 0 {
            *self = Self::default();
        }
    }

    fn failed(&mut self, why: String, now: Instant) -> StoreError {
        self.failures = self.failures.saturating_add(1);
        self.why = why;
        if self.failures >= FAILURES {
            self.closed_until = Some(now + self.pause());
        }
        self.error()
    }

    /// Grows with the failures; jittered, so that the nodes of a fleet do not try together.
    fn pause(&self) -> Duration {
        let doubled = SHORTEST_PAUSE * 2u32.saturating_pow(self.failures.saturating_sub(FAILURES).min(10));
        SHORTEST_PAUSE.max(doubled.min(LONGEST_PAUSE).mul_f64(random::unit()))
    }

    fn error(&self) -> StoreError {
        StoreError::Unavailable(format!("PostgreSQL cannot be reached: {}", self.why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_failures_in_a_row_one_call_at_a_time_tries_again() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES {
            assert!(breaker.enter(now).is_ok());
            let error = breaker.failed("refused".into(), now);
            assert!(error.to_string().ends_with("cannot be reached: refused"), "{error}");
        }
        for _ in 0..20 {
            assert!(breaker.enter(now).is_err());
            now += LONGEST_PAUSE;
            assert!(breaker.enter(now).is_ok(), "one tries");
            assert!(breaker.enter(now).is_err(), "and no other");
            breaker.failed("refused".into(), now);
        }
        now += LONGEST_PAUSE;
        assert!(breaker.enter(now).is_ok());
        breaker.succeeded();
        assert!(breaker.enter(now).is_ok());
        assert!(breaker.enter(now).is_ok());
    }
}
