//! In place of the store: the domains, which of them are due, and the CA's token buckets.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::convert::Infallible;

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use linkseal_domain::ssl::SslStatus;
use linkseal_store::bucket::{self, Bucket, Level};
use linkseal_store::{BudgetAnswer, BudgetTake, CaTrouble};

/// A domain's index.
pub(super) type Id = u32;

/// A domain and its customer.
#[derive(Debug)]
pub(super) struct Domain {
    pub(super) name: DomainName,
    pub(super) ssl: SslStatus,
    pub(super) registered: Timestamp,
    /// The number of its registered domain.
    pub(super) registered_domain: u32,
    /// A random number in `0.0..1.0`: the domain belongs to every share above it.
    pub(super) lot: f64,
    /// Whether the CA can never reach it.
    pub(super) failing: bool,
    /// When its DNS starts to point elsewhere, if the customer leaves.
    pub(super) departs: Option<Timestamp>,
    /// Whether the CA's limits hold it back.
    pub(super) held_back: bool,
    /// When renewal information is requested next, if later than in the SSL state: requests that change nothing
    /// are skipped.
    pub(super) asks_at: Option<Timestamp>,
    in_progress: bool,
}

impl Domain {
    pub(super) fn new(name: DomainName, ssl: SslStatus, registered: Timestamp) -> Self {
        Self {
            name,
            ssl,
            registered,
            registered_domain: 0,
            lot: 0.0,
            failing: false,
            departs: None,
            held_back: false,
            asks_at: None,
            in_progress: false,
        }
    }

    /// Whether its DNS points here.
    pub(super) fn is_here(&self, now: Timestamp) -> bool {
        self.departs.is_none_or(|at| at > now)
    }
}

/// All domains, and the state of the CA.
#[derive(Default)]
pub(super) struct Fleet {
    domains: Vec<Domain>,
    ids: HashMap<DomainName, Id>,
    /// The domains that are not in progress, by the time they are due.
    due: BinaryHeap<Reverse<(Timestamp, Id)>>,
    in_progress: usize,
    levels: HashMap<String, Level>,
    /// Until when the CA asked for no more orders.
    pub(super) held_back: Option<Timestamp>,
    /// The CA's failures; `None` while it works.
    pub(super) trouble: Option<CaTrouble>,
    /// The domain whose order tries the CA after an outage.
    pub(super) trial: Option<Id>,
}

impl Fleet {
    pub(super) fn add(&mut self, domain: Domain) -> Id {
        let id = Id::try_from(self.domains.len()).unwrap_or(Id::MAX);
        self.ids.insert(domain.name.clone(), id);
        self.domains.push(domain);
        self.note_due(id);
        id
    }

    pub(super) fn domains(&self) -> &[Domain] {
        &self.domains
    }

    #[allow(
        clippy::indexing_slicing,
        reason = "`add` creates the ids, and domains are never removed"
    )]
    pub(super) fn domain(&mut self, id: Id) -> &mut Domain {
        &mut self.domains[id as usize]
    }

    pub(super) fn id(&self, name: &DomainName) -> Option<Id> {
        self.ids.get(name).copied()
    }

    /// Takes out the domains that are due and not in progress, most overdue first.
    pub(super) fn due(&mut self, now: Timestamp, limit: usize) -> Vec<Id> {
        let mut due = Vec::new();
        while due.len() < limit
            && let Some(Reverse((at, id))) = self.due.peek().copied()
            && at <= now
        {
            self.due.pop();
            due.push(id);
        }
        due
    }

    /// When the next domain that is not in progress is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// The number of domains in progress.
    pub(super) fn in_progress(&self) -> usize {
        self.in_progress
    }

    pub(super) fn begin(&mut self, id: Id) {
        self.domain(id).in_progress = true;
        self.in_progress += 1;
    }

    pub(super) fn finish(&mut self, id: Id) {
        self.domain(id).in_progress = false;
        self.in_progress -= 1;
        self.note_due(id);
    }

    /// Puts back domains that were due and are not in progress.
    pub(super) fn put_back(&mut self, due: &[Id]) {
        for id in due {
            if !self.domain(*id).in_progress {
                self.note_due(*id);
            }
        }
    }

    fn note_due(&mut self, id: Id) {
        let domain = self.domain(id);
        let due = match (domain.asks_at, &domain.ssl.certificate) {
            (Some(asks_at), Some(certificate)) if certificate.ari_check_at.is_some() => {
                let mut ssl = domain.ssl.clone();
                if let Some(certificate) = &mut ssl.certificate {
                    certificate.ari_check_at = Some(asks_at);
                }
                ssl.next_due(true)
            }
            _ => domain.ssl.next_due(true),
        };
        if let Some(at) = due {
            self.due.push(Reverse((at, id)));
        }
    }

    pub(super) fn take_budgets(&mut self, takes: &[BudgetTake], now: Timestamp) -> BudgetAnswer {
        let Ok(outcome) = bucket::take_all::<Infallible>(takes, now, |key| Ok(self.levels.get(key).copied()));
        self.store(&outcome.changed);
        outcome.answer
    }

    pub(super) fn return_budgets(&mut self, takes: &[BudgetTake], now: Timestamp) {
        for take in takes {
            let mut bucket = Bucket::of(take, self.levels.get(&take.key).copied(), now);
            bucket.give_back(take.amount);
            self.store(&[bucket]);
        }
    }

    fn store(&mut self, buckets: &[Bucket]) {
        for bucket in buckets {
            self.levels.insert(bucket.key().to_owned(), bucket.level());
        }
    }
}
