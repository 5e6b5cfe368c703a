//! [`Faults`] as the CA consults them; counted ones are used up.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use http::StatusCode;

use super::{Counted, Endpoint, Faults, Lost, Refusal, Window};
use crate::flood::Flood;
use crate::problem::Problem;

impl Faults {
    pub(crate) fn takes_nonce(&self) -> bool {
        let mut set = self.lock();
        let Some(every) = set.bad_nonce_every.filter(|n| *n > 0) else {
            return true;
        };
        set.posts = set.posts.wrapping_add(1);
        !set.posts.is_multiple_of(every)
    }

    pub(crate) fn refusal(&self, endpoint: Endpoint) -> Option<Refusal> {
        take(&mut self.lock().refusals, &endpoint)
    }

    pub(crate) fn refusal_of_names(&self, names: &[String]) -> Option<Refusal> {
        let refused = &mut self.lock().refused_names;
        names.iter().find_map(|name| take(refused, name))
    }

    pub(crate) fn loses(&self, endpoint: Endpoint, lost: Lost) -> bool {
        let mut set = self.lock();
        let Some(left) = set.losses.get_mut(&(endpoint, lost)) else {
            return false;
        };
        let loses = *left > 0;
        *left = left.saturating_sub(1);
        loses
    }

    pub(crate) fn floods(&self, endpoint: Endpoint) -> Option<Flood> {
        let mut set = self.lock();
        let (left, flood) = set.floods.get_mut(&endpoint)?;
        *left = left.checked_sub(1)?;
        Some(*flood)
    }

    pub(crate) fn hangs(&self, endpoint: Endpoint) -> bool {
        self.lock().hanging.contains(&endpoint)
    }

    pub(crate) fn is_down(&self) -> bool {
        self.lock().down
    }

    pub(crate) fn maintenance(&self) -> Option<Refusal> {
        let retry_after = self.lock().maintenance?;
        let detail = "The service is down for maintenance or had an internal error.";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "serverInternal", detail);
        Some(Refusal {
            problem,
            retry_after: Some(retry_after),
        })
    }

    pub(crate) fn validation_delay(&self) -> Duration {
        self.lock().validation_delay
    }

    pub(crate) fn is_stuck(&self, name: &str) -> bool {
        self.lock().stuck_validations.contains(name)
    }

    pub(crate) fn rejected_challenge(&self, name: &str) -> Option<Problem> {
        self.lock().rejected_challenges.get(name).cloned()
    }

    pub(crate) fn reuses_authorizations(&self) -> bool {
        self.lock().reuse_authorizations
    }

    pub(crate) fn processing(&self) -> Duration {
        self.lock().processing
    }

    pub(crate) fn finalize_failure(&self) -> Option<Problem> {
        let mut set = self.lock();
        let (left, problem) = set.failed_finalizations.as_mut()?;
        *left = left.checked_sub(1)?;
        Some(problem.clone())
    }

    pub(crate) fn lifetime(&self) -> Option<Duration> {
        self.lock().lifetime
    }

    pub(crate) fn replaces_refused(&self) -> Option<Refusal> {
        self.lock().replaces_refused.clone()
    }

    pub(crate) fn has_ari(&self) -> bool {
        !self.lock().ari.off
    }

    pub(crate) fn ari_window(&self, ari_id: &str) -> Option<Window> {
        let set = self.lock();
        set.ari.by_id.get(ari_id).copied().or(set.ari.all)
    }

    pub(crate) fn ari_retry_after(&self) -> Option<Duration> {
        self.lock().ari.retry_after
    }
}

fn take<K: Hash + Eq>(counted: &mut HashMap<K, Counted>, key: &K) -> Option<Refusal> {
    let entry = counted.get_mut(key)?;
    if let Some(left) = &mut entry.left {
        *left = left.checked_sub(1)?;
    }
    Some(entry.refusal.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_faults_end() {
        let faults = Faults::default();
        faults.bad_nonce_every(Some(3));
        let taken: Vec<_> = (0..6).map(|_| faults.takes_nonce()).collect();
        assert_eq!(taken, [true, true, false, true, true, false]);
        let refusal = Refusal::busy(Duration::from_secs(7));
        faults.refuse_next(Endpoint::NewOrder, 2, refusal.clone());
        assert_eq!(faults.refusal(Endpoint::NewOrder), Some(refusal.clone()));
        assert_eq!(faults.refusal(Endpoint::Order), None);
        assert_eq!(faults.refusal(Endpoint::NewOrder), Some(refusal.clone()));
        assert_eq!(faults.refusal(Endpoint::NewOrder), None);
        faults.refuse_name("a.example", None, refusal);
        for _ in 0..3 {
            assert!(
                faults
                    .refusal_of_names(&["b.example".into(), "a.example".into()])
                    .is_some()
            );
        }
        faults.lose_next(Endpoint::Finalize, Lost::Answer, 1);
        assert!(!faults.loses(Endpoint::Finalize, Lost::Request));
        assert!(faults.loses(Endpoint::Finalize, Lost::Answer));
        assert!(!faults.loses(Endpoint::Finalize, Lost::Answer));
    }
}
