//! What the store holds in production: the domains, which of them are due, and the CA's buckets.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::convert::Infallible;

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use linkseal_domain::ssl::SslStatus;
use linkseal_store::bucket::{self, Bucket, Level};
use linkseal_store::{BudgetAnswer, BudgetTake, CaTrouble};

/// Numbers a domain.
pub(super) type Id = u32;

/// A domain with its customer.
#[derive(Debug)]
pub(super) struct Domain {
    pub(super) name: DomainName,
    pub(super) ssl: SslStatus,
    pub(super) registered: Timestamp,
    /// Which registered domain it belongs to.
    pub(super) registered_domain: u32,
    /// Where it falls among all, in `0.0..1.0`, when a share of them is chosen.
    pub(super) lot: f64,
    /// Whether the CA can never reach it.
    pub(super) failing: bool,
    /// When its DNS leads elsewhere. `None`: not in our time.
    pub(super) departs: Option<Timestamp>,
    /// Whether the CA's limits hold it back.
    pub(super) held_back: bool,
    /// When renewal information is asked for next; questions that change nothing are left out, so
    /// that may be farther off than a CA can wish. `None`: as its SSL state says.
    pub(super) asks_at: Option<Timestamp>,
    in_hand: bool,
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
            in_hand: false,
        }
    }

    /// Whether its DNS points here.
    pub(super) fn is_here(&self, now: Timestamp) -> bool {
        self.departs.is_none_or(|at| at > now)
    }
}

/// The book.
#[derive(Default)]
pub(super) struct Fleet {
    domains: Vec<Domain>,
    ids: HashMap<DomainName, Id>,
    /// All that are not in progress and are due at some time.
    due: BinaryHeap<Reverse<(Timestamp, Id)>>,
    in_hand: usize,
    levels: HashMap<String, Level>,
    /// Until when the CA takes no orders, by its own word. `None`: it has not said.
    pub(super) held_back: Option<Timestamp>,
    /// The CA's troubles. `None`: it works.
    pub(super) trouble: Option<CaTrouble>,
    /// Whose order tries the CA after an outage.
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

    #[allow(clippy::indexing_slicing, reason = "ids are given out here and domains never go")]
    pub(super) fn domain(&mut self, id: Id) -> &mut Domain {
        &mut self.domains[id as usize]
    }

    pub(super) fn id(&self, name: &DomainName) -> Option<Id> {
        self.ids.get(name).copied()
    }

    /// Those that are due and in no one's hand, most overdue first.
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

    /// When one that is in no one's hand is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// How many are in progress.
    pub(super) fn in_hand(&self) -> usize {
        self.in_hand
    }

    pub(super) fn take_in_hand(&mut self, id: Id) {
        self.domain(id).in_hand = true;
        self.in_hand += 1;
    }

    pub(super) fn let_go(&mut self, id: Id) {
        self.domain(id).in_hand = false;
        self.in_hand -= 1;
        self.note_due(id);
    }

    /// Puts back those that were due and were not taken up.
    pub(super) fn put_back(&mut self, due: &[Id]) {
        for id in due {
            if !self.domain(*id).in_hand {
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
