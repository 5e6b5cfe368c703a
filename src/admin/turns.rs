//! Work that a request starts beyond this port (a dozen DNS questions, a fetch, keys to try): how
//! much of it one token has at a time. More of it waits for its turn; nobody waits for another's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::auth::Caller;
use super::problem::Problem;
use super::scope::Scope;
use crate::clock::Clock;

/// Of a token that sees everything: the platform's back end verifies many names.
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
    /// The same for a registration, which looks at DNS for who is kept to one tenant alone.
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
        let own = {
            let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(most));
            Arc::clone(tokens.entry(caller.name().to_owned()).or_insert_with(new))
        };
        // It is never closed.
        match timeout(WAIT, own.acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => {
                let now = clock.now();
                let detail = format!(
                    "{most} checks of the token \"{}\" are under way, and none has ended within {} s; ask for fewer at \
                     a time",
                    caller.name(),
                    WAIT.as_secs()
                );
                Err(Problem::later(detail, now + TRY_AGAIN, now))
            }
        }
    }
}
