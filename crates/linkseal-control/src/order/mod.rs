//! From the queue to a certificate in use, or to a failure with a time for the next attempt.
//!
//! | file | part |
//! |---|---|
//! | `run` | runs one order under the domain's lease |
//! | `failed` | records what came of an order that failed or has to wait |
//! | `choose` | picks the CA of an order and takes from its rate limits |
//! | `ca_health` | CAs that fail, hold orders back, or need something fixed here |
//! | `standstill` | in-memory pauses of CAs, for reasons that do not belong into the store |
//! | `caa_identity` | how CAA records name each CA |

pub(crate) mod ca_health;
mod caa_identity;
mod choose;
mod failed;
mod run;
pub(crate) mod standstill;

use std::sync::Arc;

use self::ca_health::CaHealth;
use self::caa_identity::CaaIdentities;
use crate::core::Core;
use crate::schedule::Schedule;

/// The orders of this node.
pub(crate) struct Orders {
    core: Arc<Core>,
    schedule: Arc<Schedule>,
    pub(crate) health: CaHealth,
    pub(crate) identities: CaaIdentities,
}

impl Orders {
    pub(crate) fn new(schedule: Arc<Schedule>) -> Arc<Self> {
        let core = Arc::clone(&schedule.core);
        Arc::new(Self {
            health: CaHealth::new(Arc::clone(&core)),
            identities: CaaIdentities::new(Arc::clone(&core)),
            core,
            schedule,
        })
    }
}
