//! Answers without a foreseeable end (events, exports, imports): how many there are at a time, and
//! that none outlives what its caller was let in with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Context;
use super::auth::Caller;
use super::problem::Problem;
use super::scope::Scope;

/// When the next try makes sense for a caller who is refused.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// How many streams there may be.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// In all.
    pub(super) all: usize,
    /// Of all tokens of tenants together: the rest is kept for those who see everything.
    pub(super) tenants: usize,
    /// Of one token of a tenant.
    pub(super) token: usize,
    /// Of one token that sees everything.
    pub(super) operator: usize,
}

/// Streams of one kind.
pub(super) struct Streams {
    what: &'static str,
    bounds: Bounds,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: usize,
    tenants: usize,
    tokens: HashMap<String, usize>,
}

/// The right to hold a stream; given back when dropped.
pub(super) struct Permit {
    streams: Arc<Streams>,
    caller: Caller,
}

impl Streams {
    /// `what`: what refusals call them.
    pub(super) fn new(what: &'static str, bounds: Bounds) -> Arc<Self> {
        let open = Mutex::default();
        Arc::new(Self { what, bounds, open })
    }

    /// A permit for one more stream of this caller.
    pub(super) fn begin(self: &Arc<Self>, context: &Context, caller: &Caller) -> Result<Permit, Problem> {
        let Bounds { all, tenants, .. } = self.bounds;
        let of_tenant = is_of_tenant(caller);
        // Without tokens everybody on this machine is one caller.
        let own_bound = match (caller.is_local(), of_tenant) {
            (true, _) => all,
            (false, true) => self.bounds.token,
            (false, false) => self.bounds.operator,
        };
        let mut open = self.lock();
        let own = open.tokens.get(caller.name()).copied().unwrap_or_default();
        let full = if own >= own_bound {
            Some(format!(
                "{own} {} of the token \"{}\" are open, which is the most one token may have; close one first",
                self.what,
                caller.name()
            ))
        } else if open.all >= all || (of_tenant && open.tenants >= tenants) {
            Some(format!("too many {} are open; try again later", self.what))
        } else {
            None
        };
        if let Some(detail) = full {
            let now = context.control.clock().now();
            return Err(Problem::later(detail, now + TRY_AGAIN, now));
        }
        open.all += 1;
        open.tenants += usize::from(of_tenant);
        *open.tokens.entry(caller.name().to_owned()).or_default() += 1;
        Ok(Permit {
            streams: Arc::clone(self),
            caller: caller.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Nothing in here panics half-way.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_of_tenant(caller: &Caller) -> bool {
    !matches!(caller.scope(), Scope::All)
}

impl Permit {
    /// Whether its caller is still let in to the same: a reload may have taken the token away, or
    /// given it less.
    pub(super) fn holds(&self, context: &Context) -> bool {
        context.live.load().access.still_lets_in(&self.caller)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        open.all = open.all.saturating_sub(1);
        open.tenants = open.tenants.saturating_sub(usize::from(is_of_tenant(&self.caller)));
        if let Some(own) = open.tokens.get_mut(self.caller.name()) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.tokens.remove(self.caller.name());
            }
        }
    }
}
