//! How many expensive requests one token has at a time: long lists, and requests that cause work
//! elsewhere (trying link keys, a registration that queries DNS). Further ones wait for their turn,
//! never for another token's. DNS reports are limited by the control plane itself
//! ([`linkseal_control`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::access::Caller;
use crate::problem::Problem;
use crate::scope::Scope;

/// How many requests of one kind one token has at a time.
#[derive(Clone, Copy)]
pub(crate) struct TurnLimit {
    /// The kind of work, in refusals.
    what: &'static str,
    /// For a token that sees everything: the platform's back end inspects many links.
    per_fleet_token: usize,
    per_tenant_token: usize,
}

/// Work beyond this port.
pub(crate) const CHECKS: TurnLimit = TurnLimit {
    what: "checks",
    per_fleet_token: 32,
    per_tenant_token: 8,
};
/// Lists of up to a thousand records: they cost CPU time.
pub(crate) const LISTS: TurnLimit = TurnLimit {
    what: "lists",
    per_fleet_token: 4,
    per_tenant_token: 2,
};
/// How long a request waits for its turn.
const WAIT: Duration = Duration::from_secs(20);
/// When to try again after that.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// The turns of all tokens; bounded by the number of tokens ever configured.
pub(crate) struct Turns {
    limit: TurnLimit,
    /// By the token's name and its limit: a reload may change a token's scope.
    tokens: Mutex<HashMap<(String, usize), Arc<Semaphore>>>,
}

impl Turns {
    pub(crate) fn new(limit: TurnLimit) -> Self {
        let tokens = Mutex::default();
        Self { limit, tokens }
    }

    /// Waits for the caller's turn to register a domain. Only callers limited to a tenant wait:
    /// only for them does a registration query DNS.
    pub(crate) async fn for_registration(
        &self,
        caller: &Caller,
        clock: &Clock,
    ) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        match caller.scope().tenant() {
            Some(_) => self.take(caller, clock).await.map(Some),
            None => Ok(None),
        }
    }

    /// Waits for the caller's turn, which lasts until it is dropped.
    pub(crate) async fn take(&self, caller: &Caller, clock: &Clock) -> Result<OwnedSemaphorePermit, Problem> {
        let most = match caller.scope() {
            Scope::All => self.limit.per_fleet_token,
            _ => self.limit.per_tenant_token,
        };
        self.turn(caller.name(), most).await.ok_or_else(|| {
            let now = clock.now();
            let detail = format!(
                "{most} {} of the token \"{}\" are running, and none finished within {} s; send fewer at a time",
                self.limit.what,
                caller.name(),
                WAIT.as_secs()
            );
            Problem::later(detail, now + TRY_AGAIN, now)
        })
    }

    /// `None` if no turn came in time.
    async fn turn(&self, token: &str, most: usize) -> Option<OwnedSemaphorePermit> {
        let own = {
            let mut tokens = self.tokens.lock();
            let new = || Arc::new(Semaphore::new(most));
            Arc::clone(tokens.entry((token.to_owned(), most)).or_insert_with(new))
        };
        // The semaphore is never closed.
        timeout(WAIT, own.acquire_owned()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_of_one_token_do_not_delay_another() {
        let turns = Turns::new(CHECKS);
        let taken: Vec<_> =
            join_all((0..CHECKS.per_tenant_token).map(|_| turns.turn("crowd", CHECKS.per_tenant_token))).await;
        assert!(taken.iter().all(Option::is_some));
        let mut waiting: Vec<Pin<Box<_>>> = (0..1_000)
            .map(|_| Box::pin(turns.turn("crowd", CHECKS.per_tenant_token)))
            .collect();
        assert!(waiting.iter_mut().all(|w| w.as_mut().now_or_never().is_none()));
        // Another token's turn comes at once.
        assert!(
            turns
                .turn("bystander", CHECKS.per_tenant_token)
                .now_or_never()
                .flatten()
                .is_some()
        );
        let mut taken = taken;
        drop(taken.pop());
        let first = waiting.remove(0).now_or_never().flatten();
        assert!(first.is_some(), "first come, first served");
        // The others are refused in time.
        let begun = Instant::now();
        assert!(join_all(waiting).await.iter().all(Option::is_none));
        assert_eq!(begun.elapsed(), WAIT);
    }

    #[tokio::test]
    async fn a_reload_that_widens_a_token_s_scope_raises_its_limit() {
        let turns = Turns::new(CHECKS);
        let _of_tenant =
            join_all((0..CHECKS.per_tenant_token).map(|_| turns.turn("token", CHECKS.per_tenant_token))).await;
        let of_all =
            (0..CHECKS.per_fleet_token).map(|_| turns.turn("token", CHECKS.per_fleet_token).now_or_never().flatten());
        assert!(of_all.collect::<Vec<_>>().iter().all(Option::is_some));
    }
}
