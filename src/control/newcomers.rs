//! Names just registered, taken up before what waits to be. The scheduler takes up what is due in
//! order of time; behind an import of many thousands, somebody's one new domain would wait for all
//! of it. So a tenant with only a few domains that wait goes past.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::scheduler::MAX_IN_HAND;
use super::{Control, Priority};
use crate::domain::ssl::{Reason, State};
use crate::domain::{DomainName, DomainRecord};
use crate::store::StoreError;

/// A tenant with at most so many domains that wait for a certificate has only a few.
const FEW: u64 = 10;
/// Newcomers that are remembered; more find their way through the store, in order of time.
const REMEMBERED: usize = 1_024;

/// The newcomers of this node, with their tenants.
#[derive(Default)]
pub(super) struct Newcomers {
    names: Mutex<VecDeque<(DomainName, String)>>,
}

impl Newcomers {
    /// Remembers one, unless there are too many. The scheduler is woken by its publication.
    pub(super) fn add(&self, record: &DomainRecord) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if record.ssl.next_attempt.is_some() && names.len() < REMEMBERED {
            names.push_back((record.name.clone(), record.tenant.clone()));
        }
    }

    fn take_all(&self) -> VecDeque<(DomainName, String)> {
        std::mem::take(&mut self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Control {
    /// Takes up newcomers whose tenants have only a few domains that wait, also when the hands are
    /// full of others.
    pub(super) async fn take_up_newcomers(&self) -> Result<(), StoreError> {
        for (name, tenant) in self.inner.newcomers.take_all() {
            if self.inner.in_hand.len() < 2 * MAX_IN_HAND && self.only_few_wait(&tenant).await? {
                self.attend(name, Priority::Bulk, None);
            }
        }
        Ok(())
    }

    /// Whether only a few domains of a tenant wait for a certificate.
    pub(super) async fn only_few_wait(&self, tenant: &str) -> Result<bool, StoreError> {
        let counts = self.inner.store.counts(Some(tenant)).await?;
        let waits = |reason: Reason| reason.state() == State::Pending || reason == Reason::NeverRequested;
        let waiting: u64 = counts.iter().filter(|c| waits(c.reason)).map(|c| c.domains).sum();
        Ok(waiting <= FEW)
    }
}
