//! Answers without a foreseeable end (event streams, exports, imports): how many are open at a time.
//! Each asks now and then whether its caller's token still grants it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use parking_lot::Mutex;

use crate::access::Caller;
use crate::problem::Problem;
use crate::scope::Scope;

/// When to try again after a refusal.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// How many streams of one kind may be open.
#[derive(Clone, Copy)]
pub(crate) struct StreamLimits {
    pub(crate) total: usize,
    /// For all tokens of tenants together; the rest is reserved for tokens that see everything.
    pub(crate) tenants: usize,
    pub(crate) per_tenant_token: usize,
    pub(crate) per_fleet_token: usize,
}

/// The streams of one kind.
pub(crate) struct Streams {
    what: &'static str,
    limits: StreamLimits,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    tenants: usize,
    tokens: HashMap<String, usize>,
}

/// The right to keep one stream open, until it is dropped.
pub(crate) struct Permit {
    streams: Arc<Streams>,
    caller: Caller,
}

impl Streams {
    /// `what`: the kind, in refusals.
    pub(crate) fn new(what: &'static str, limits: StreamLimits) -> Arc<Self> {
        let open = Mutex::default();
        Arc::new(Self { what, limits, open })
    }

    /// Opens one more stream for this caller.
    pub(crate) fn open(self: &Arc<Self>, caller: &Caller, now: Timestamp) -> Result<Permit, Problem> {
        let StreamLimits { total, tenants, .. } = self.limits;
        let of_tenant = is_of_tenant(caller);
        // Without tokens, all clients on this machine count as one caller.
        let own_limit = match (caller.is_local(), of_tenant) {
            (true, _) => total,
            (false, true) => self.limits.per_tenant_token,
            (false, false) => self.limits.per_fleet_token,
        };
        let mut open = self.open.lock();
        let own = open.tokens.get(caller.name()).copied().unwrap_or_default();
        let full = if own >= own_limit {
            Some(format!(
                "{own} {} of the token \"{}\" are open, the most for one token; close one first",
                self.what,
                caller.name()
            ))
        } else if open.total >= total || (of_tenant && open.tenants >= tenants) {
            Some(format!("too many {} are open; try again later", self.what))
        } else {
            None
        };
        if let Some(detail) = full {
            return Err(Problem::later(detail, now + TRY_AGAIN, now));
        }
        open.total += 1;
        open.tenants += usize::from(of_tenant);
        *open.tokens.entry(caller.name().to_owned()).or_default() += 1;
        Ok(Permit {
            streams: Arc::clone(self),
            caller: caller.clone(),
        })
    }
}

fn is_of_tenant(caller: &Caller) -> bool {
    !matches!(caller.scope(), Scope::All)
}

impl Permit {
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock();
        open.total = open.total.saturating_sub(1);
        open.tenants = open.tenants.saturating_sub(usize::from(is_of_tenant(&self.caller)));
        if let Some(own) = open.tokens.get_mut(self.caller.name()) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.tokens.remove(self.caller.name());
            }
        }
    }
}
