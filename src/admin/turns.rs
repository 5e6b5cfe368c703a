//! Work that a request starts beyond this port (keys of links to try, a registration that has DNS
//! looked at): how much of it one token has at a time. More of it waits for its turn; nobody waits for
//! another's. Reports on DNS have places of their own, with a share for each token
//! ([`crate::control`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::auth::Caller;
use super::problem::Problem;
use super::scope::Scope;
use crate::clock::Clock;

/// Of a token that sees everything: the platform's back end looks into many links.
const FLEET: usize = 32;
/// Of a token of one tenant.
const TENANT: usize = 8;
/// How long a turn is waited for.
const WAIT: Duration = Duration::from_secs(20);
/// When the next try makes sense after that.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// The turns of all tokens. There are no more of them than tokens were ever configured.
#[derive(Default)]
pub(super) struct Turns {
    tokens: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Turns {
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
        let most = if *caller.scope() == Scope::All { FLEET } else { TENANT };
        self.turn(caller.name(), most).await.ok_or_else(|| {
            let now = clock.now();
            let detail = format!(
                "{most} checks of the token \"{}\" are under way, and none has ended within {} s; ask for fewer at \
                 a time",
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
            Arc::clone(tokens.entry(token.to_owned()).or_insert_with(new))
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
        let turns = Turns::default();
        let taken: Vec<_> = join_all((0..TENANT).map(|_| turns.turn("crowd", TENANT))).await;
        assert!(taken.iter().all(Option::is_some));
        let mut waiting: Vec<Pin<Box<_>>> = (0..1_000).map(|_| Box::pin(turns.turn("crowd", TENANT))).collect();
        assert!(waiting.iter_mut().all(|w| w.as_mut().now_or_never().is_none()));
        // Another token's turn comes at once.
        assert!(turns.turn("bystander", TENANT).now_or_never().flatten().is_some());
        let mut taken = taken;
        drop(taken.pop());
        let first = waiting.remove(0).now_or_never().flatten();
        assert!(first.is_some(), "first come, first served");
        // The others are told in time.
        let begun = Instant::now();
        assert!(join_all(waiting).await.iter().all(Option::is_none));
        assert_eq!(begun.elapsed(), WAIT);
    }
}
