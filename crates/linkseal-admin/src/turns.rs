//! Work that is more than a look at what is in memory: long lists, and what a request starts beyond
//! this port (keys of links to try, a registration that has DNS looked at). How much of it one token
//! has at a time: more of it waits for its turn, and for no other token's. Reports on DNS have places
//! of their own, with a share for each token ([`linkseal_control`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use linkseal_base::clock::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::auth::Caller;
use super::problem::Problem;
use super::scope::Scope;

/// How much of one kind of work one token has at a time.
#[derive(Clone, Copy)]
pub(super) struct Most {
    /// What refusals call the work.
    what: &'static str,
    /// Of a token that sees everything: the platform's back end looks into many links.
    fleet: usize,
    /// Of a token of one tenant.
    tenant: usize,
}

/// What goes beyond this port.
pub(super) const CHECKS: Most = Most {
    what: "checks",
    fleet: 32,
    tenant: 8,
};
/// Lists, of up to a thousand records each: they cost this machine's time.
pub(super) const LISTS: Most = Most {
    what: "lists",
    fleet: 4,
    tenant: 2,
};
/// How long a turn is waited for.
const WAIT: Duration = Duration::from_secs(20);
/// When the next try makes sense after that.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// The turns of all tokens. There are no more of them than tokens were ever configured.
pub(super) struct Turns {
    most: Most,
    /// By the token's name and how many it has: a reload may give it another tenant, or all.
    tokens: Mutex<HashMap<(String, usize), Arc<Semaphore>>>,
}

impl Turns {
    pub(super) fn new(most: Most) -> Self {
        let tokens = Mutex::default();
        Self { most, tokens }
    }

    /// Waits for the caller's turn to register a domain, which looks at DNS for who is kept to one tenant alone.
    pub(super) async fn for_registration(
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
    pub(super) async fn take(&self, caller: &Caller, clock: &Clock) -> Result<OwnedSemaphorePermit, Problem> {
        let most = match caller.scope() {
            Scope::All => self.most.fleet,
            _ => self.most.tenant,
        };
        self.turn(caller.name(), most).await.ok_or_else(|| {
            let now = clock.now();
            let detail = format!(
                "{most} {} of the token \"{}\" are under way, and none has ended within {} s; ask for fewer at \
                 a time",
                self.most.what,
                caller.name(),
                WAIT.as_secs()
            );
            Problem::later(detail, now + TRY_AGAIN, now)
        })
    }

    /// A turn of a token that has so many. `None`: none came in time.
    async fn turn(&self, token: &str, most: usize) -> Option<OwnedSemaphorePermit> {
        let own = {
            let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(most));
            Arc::clone(tokens.entry((token.to_owned(), most)).or_insert_with(new))
        };
        // It is never closed.
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
    async fn one_tokens_crowd_waits_for_itself_alone() {
        let turns = Turns::new(CHECKS);
        let taken: Vec<_> = join_all((0..CHECKS.tenant).map(|_| turns.turn("crowd", CHECKS.tenant))).await;
        assert!(taken.iter().all(Option::is_some));
        let mut waiting: Vec<Pin<Box<_>>> = (0..1_000)
            .map(|_| Box::pin(turns.turn("crowd", CHECKS.tenant)))
            .collect();
        assert!(waiting.iter_mut().all(|w| w.as_mut().now_or_never().is_none()));
        // Another token's turn comes at once.
        assert!(
            turns
                .turn("bystander", CHECKS.tenant)
                .now_or_never()
                .flatten()
                .is_some()
        );
        let mut taken = taken;
        drop(taken.pop());
        let first = waiting.remove(0).now_or_never().flatten();
        assert!(first.is_some(), "first come, first served");
        // The others are told in time.
        let begun = Instant::now();
        assert!(join_all(waiting).await.iter().all(Option::is_none));
        assert_eq!(begun.elapsed(), WAIT);
    }

    #[tokio::test]
    async fn a_token_that_a_reload_gives_more_has_more() {
        let turns = Turns::new(CHECKS);
        let _of_tenant = join_all((0..CHECKS.tenant).map(|_| turns.turn("token", CHECKS.tenant))).await;
        let of_all = (0..CHECKS.fleet).map(|_| turns.turn("token", CHECKS.fleet).now_or_never().flatten());
        assert!(of_all.collect::<Vec<_>>().iter().all(Option::is_some));
    }
}
