//! The state that the parts of the CA share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Semaphore;

use super::ca::CaHierarchy;
use super::faults::Faults;
use super::hosts::Hosts;
use super::state::State;
use super::stats::Counters;
use super::{EabKey, Profile};

/// Locks are taken in this order: `state`, then `faults` or `stats`.
pub(super) struct Core {
    /// `https://address`, without a trailing slash.
    pub(super) base: String,
    pub(super) authority: CaHierarchy,
    pub(super) state: Mutex<State>,
    pub(super) faults: Arc<Faults>,
    pub(super) stats: Arc<Counters>,
    pub(super) hosts: Hosts,
    pub(super) http_port: AtomicU16,
    pub(super) https_port: AtomicU16,
    pub(super) clock: Clock,
    pub(super) lifetime: Duration,
    pub(super) backdate: Duration,
    pub(super) validation_timeout: Duration,
    pub(super) validations: Semaphore,
    pub(super) caa_identities: Vec<String>,
    pub(super) profiles: BTreeMap<String, Profile>,
    pub(super) eab: Vec<EabKey>,
    pub(super) tasks: Tasks,
}

impl Core {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn port(&self, https: bool) -> u16 {
        if https { &self.https_port } else { &self.http_port }.load(Ordering::Relaxed)
    }

    /// Name, token and account thumbprint of a challenge. `None`: it was dropped in the meantime.
    pub(super) fn challenge_to_validate(&self, authorization: &str) -> Option<(String, String, String)> {
        let state = self.state();
        let found = state.authorizations.get(authorization)?;
        let account = state.account(&found.account)?;
        Some((found.name.clone(), found.token.clone(), account.key.thumbprint.clone()))
    }
}
