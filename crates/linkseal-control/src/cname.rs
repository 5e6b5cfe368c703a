//! Admission by `cname`: a name whose DNS points here is admitted, and kept as long as it does.
//!
//! Anyone who sends ClientHellos decides how many names are asked for, and anyone who owns a wildcard
//! that points here decides how many of them are right. So everything is bounded: the names of one
//! registered domain and the looks below it, the looks and the new names of this node and of each
//! network that names come from, the looks at once, the answers remembered. A name that is past a bound leaves nothing behind and costs no look.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use linkseal_base::clock::Timestamp;
use linkseal_dns::Finding;
use linkseal_domain::admission::{Admitted, ClientNetwork};
use linkseal_domain::dns::{DnsSummary, DnsVerdict};
use linkseal_domain::name::registered_domain;
use linkseal_domain::record::Origin;
use linkseal_domain::registry::Entry;
use linkseal_domain::ssl::SslEvent;
use linkseal_domain::{DomainName, DomainRecord};
use moka::future::Cache as Answers;
use moka::sync::Cache;

use super::bucket::Bucket;
use super::newcomer_shares::{AtOnce, Shared};
use super::{Control, Issue, Limit};

/// Answers kept at most; beyond, the least used go.
const ANSWERS: u64 = 10_000;
/// Registered domains whose looks are counted; one that is dropped starts again.
const COUNTED_DOMAINS: u64 = 10_000;
/// How long a registered domain's count is kept after its last look.
const COUNTED_FOR: Duration = Duration::from_secs(24 * 3600);
/// A failure to look is kept that long, so that servers that fail are not hammered.
const FAILED_FOR: Duration = Duration::from_secs(5);

/// What admission by DNS may cost at most.
#[derive(Clone, Debug)]
pub struct CnameSettings {
    /// Names admitted below one registered domain, and looked up there within `negative_ttl`.
    pub per_registered_domain: u32,
    /// Labels a name may have in front of its registered domain.
    pub max_labels: usize,
    /// New names this node admits.
    pub admission_rate: Limit,
    /// Unknown names this node looks up.
    pub lookups: Limit,
    /// Unknown names looked up at once.
    pub max_concurrent_lookups: usize,
    /// How long a name that does not point here is refused without another look.
    pub negative_ttl: Duration,
}

/// What is known of names that ask to be admitted.
pub(super) struct CnameAdmission {
    /// The names admitted this way, by registered domain.
    held: DashMap<Box<str>, HashSet<DomainName>>,
    answers: Answers<DomainName, Answer>,
    /// Looks below each registered domain.
    below: Cache<String, Arc<Bucket>>,
    looks: Shared,
    admission_rate: Shared,
    looking: AtOnce,
}

/// An answer and how long it holds.
#[derive(Clone)]
struct Answer {
    admitted: Admitted,
    keep: Duration,
}

/// Why there was no look.
#[derive(Clone, Copy, Debug)]
enum Refused {
    /// The registered domain has as many names as it may.
    Full,
    /// Too much is asked for now.
    Busy,
}

impl CnameAdmission {
    pub(super) fn new() -> Self {
        Self {
            held: DashMap::new(),
            answers: Answers::builder().max_capacity(ANSWERS).expire_after(Expiry).build(),
            below: Cache::builder()
                .max_capacity(COUNTED_DOMAINS)
                .time_to_idle(COUNTED_FOR)
                .build(),
            looks: Shared::new(),
            admission_rate: Shared::new(),
            looking: AtOnce::new(),
        }
    }

    /// Learns of a record that is stored: whether it counts among those admitted this way.
    pub(super) fn note(&self, record: &DomainRecord) {
        if record.origin == Origin::Cname {
            let registered = registered_domain(record.name.as_str());
            self.held
                .entry(registered.into())
                .or_default()
                .insert(record.name.clone());
        } else if !self.held.is_empty() {
            self.forget(&record.name);
        }
    }

    /// Lets a name go.
    pub(super) fn forget(&self, name: &DomainName) {
        let registered = registered_domain(name.as_str());
        self.held.remove_if_mut(registered, |_, names| {
            names.remove(name);
            names.is_empty()
        });
    }

    /// Takes a place below a registered domain for a name. `None`: all are taken.
    fn reserve<'a>(&'a self, registered: &str, name: &'a DomainName, places: u32) -> Option<Reserved<'a>> {
        let mut names = self.held.entry(registered.into()).or_default();
        let is_held = names.contains(name);
        if !is_held && is_full(names.len(), places) {
            return None;
        }
        names.insert(name.clone());
        Some(Reserved {
            desk: self,
            name,
            kept: is_held,
        })
    }

    /// Whether a look may be made now, and makes it count.
    fn may_look(
        &self,
        registered: &str,
        asking: ClientNetwork,
        settings: &CnameSettings,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let places = settings.per_registered_domain;
        if self.held.get(registered).is_some_and(|n| is_full(n.len(), places)) {
            return Err(Refused::Full);
        }
        // What a network has used up costs a registered domain nothing.
        if !self.admission_rate.has(settings.admission_rate, asking, now)
            || !self.looks.has(settings.lookups, asking, now)
        {
            return Err(Refused::Busy);
        }
        let below = self.below.get_with_by_ref(registered, Arc::default);
        let per_domain = Limit {
            count: places,
            per: settings.negative_ttl,
        };
        if below.take(per_domain, now) && self.looks.take(settings.lookups, asking, now) {
            Ok(())
        } else {
            Err(Refused::Busy)
        }
    }
}

/// A name's place below its registered domain: given back when this is dropped, unless it is kept.
struct Reserved<'a> {
    desk: &'a CnameAdmission,
    name: &'a DomainName,
    kept: bool,
}

impl Reserved<'_> {
    /// The name is stored: it has the place until it is forgotten.
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.desk.forget(self.name);
        }
    }
}

fn is_full(names: usize, places: u32) -> bool {
    u32::try_from(names).unwrap_or(u32::MAX) >= places
}

impl Control {
    /// Whether a name's DNS points here; if so it is kept, and its order is due.
    pub(super) async fn admit_by_cname(
        &self,
        name: &DomainName,
        asking: ClientNetwork,
        settings: &CnameSettings,
    ) -> Admitted {
        let desk = &self.inner.cname;
        let registered = registered_domain(name.as_str());
        let in_front = name.label_count().saturating_sub(registered.split('.').count());
        // Where nothing is ordered, nothing can come of a new name. A public suffix is no one's.
        if in_front > settings.max_labels
            || self.inner.settings.load().issue == Issue::Off
            || psl::domain_str(name.as_str()).is_none()
        {
            return self.counted("no", Admitted::No);
        }
        // How many names are held is known only then.
        if !self.inner.registry.is_loaded() {
            return self.counted("limited", Admitted::Unreachable);
        }
        // Another handshake of a crowd was faster.
        if let Some(entry) = self.inner.registry.get(name.as_str()) {
            return Admitted::Yes(entry);
        }
        let look = Box::pin(self.look_for_cname(name, registered, asking, settings));
        match desk.answers.try_get_with_by_ref(name, look).await {
            Ok(answer) => answer.admitted,
            Err(why) => {
                let admitted = match *why {
                    Refused::Full => Admitted::No,
                    Refused::Busy => Admitted::Unreachable,
                };
                self.counted("limited", admitted)
            }
        }
    }

    async fn look_for_cname(
        &self,
        name: &DomainName,
        registered: &str,
        asking: ClientNetwork,
        settings: &CnameSettings,
    ) -> Result<Answer, Refused> {
        let desk = &self.inner.cname;
        let _turn = desk
            .looking
            .turn(settings.max_concurrent_lookups, asking)
            .ok_or(Refused::Busy)?;
        desk.may_look(registered, asking, settings, self.inner.clock.now())?;
        let finding = self.tools().checker.https(name).await;
        let answer = |word, admitted, keep| {
            Ok(Answer {
                admitted: self.counted(word, admitted),
                keep,
            })
        };
        match &finding.leads {
            DnsVerdict::Right => {}
            DnsVerdict::Error { .. } => return answer("unreachable", Admitted::Unreachable, FAILED_FOR),
            _ => return answer("no", Admitted::No, settings.negative_ttl),
        }
        // A handshake may go away at any moment. What is stored is also noted and told, so this is
        // seen through without it.
        let (control, name, places) = (self.clone(), name.clone(), settings.clone());
        let keeping = self
            .inner
            .tasks
            .spawn(async move { control.keep_by_cname(&name, asking, &finding, &places).await });
        match keeping.await {
            // From now on the registry says so.
            Ok(Ok(Some(entry))) => answer("yes", Admitted::Yes(entry), Duration::ZERO),
            Ok(Err(refused)) => Err(refused),
            Ok(Ok(None)) | Err(_) => answer("unreachable", Admitted::Unreachable, FAILED_FOR),
        }
    }

    /// Stores a name that was found to point here. `None`: it cannot be stored now.
    async fn keep_by_cname(
        &self,
        name: &DomainName,
        asking: ClientNetwork,
        finding: &Finding,
        settings: &CnameSettings,
    ) -> Result<Option<Arc<Entry>>, Refused> {
        let (desk, now) = (&self.inner.cname, self.inner.clock.now());
        let registered = registered_domain(name.as_str());
        let place = desk.reserve(registered, name, settings.per_registered_domain);
        let place = place.ok_or(Refused::Full)?;
        if !desk.admission_rate.take(settings.admission_rate, asking, now) {
            return Err(Refused::Busy);
        }
        match self.admit(led_here(name, finding, now), "its DNS points here").await {
            Ok(entry) => {
                place.keep();
                Ok(Some(entry))
            }
            Err(error) => {
                self.store_fails("store admitted names", Some(name), &error);
                Ok(None)
            }
        }
    }

    fn counted(&self, result: &str, admitted: Admitted) -> Admitted {
        self.inner.metrics.cname.with_label_values(&[result]).inc();
        admitted
    }
}

/// The record of a name found to point here: its order is due, unless CAA forbids it.
fn led_here(name: &DomainName, finding: &Finding, now: Timestamp) -> DomainRecord {
    let mut record = DomainRecord::new(name.clone(), None, Origin::Cname, now);
    let https = finding.verdict == DnsVerdict::Right;
    record.dns = DnsSummary {
        checked: Some(now),
        https,
        verified: false,
    };
    let event = if https {
        SslEvent::Wanted
    } else {
        SslEvent::DnsChecked(finding.verdict.clone())
    };
    record.apply(event, now);
    record
}

struct Expiry;

impl moka::Expiry<DomainName, Answer> for Expiry {
    fn expire_after_create(&self, _: &DomainName, answer: &Answer, _: Instant) -> Option<Duration> {
        Some(answer.keep)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Bench;
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn from(network: u8) -> ClientNetwork {
        ClientNetwork::of([192, 0, network, 0].into())
    }

    fn settings() -> CnameSettings {
        let minute = Duration::from_secs(60);
        CnameSettings {
            per_registered_domain: 2,
            max_labels: 2,
            admission_rate: Limit { count: 3, per: minute },
            lookups: Limit { count: 5, per: minute },
            max_concurrent_lookups: 1,
            negative_ttl: Duration::from_secs(600),
        }
    }

    #[test]
    fn the_names_of_one_registered_domain_are_bounded_and_give_their_place_back() {
        let (desk, now) = (CnameAdmission::new(), Timestamp::from_secs(1_795_305_600));
        let (a, b, c) = (name("a.shop.co.uk"), name("b.deep.shop.co.uk"), name("c.shop.co.uk"));
        let registered = registered_domain(c.as_str());
        assert_eq!(registered, "shop.co.uk");
        let mut record = DomainRecord::new(a.clone(), None, Origin::Cname, now);
        desk.note(&record);
        desk.note(&record);
        drop(desk.reserve(registered, &b, 2).expect("a place is left"));
        for _ in 0..2 {
            desk.reserve(registered, &b, 2)
                .expect("what was not kept was given back")
                .keep();
        }
        drop(desk.reserve(registered, &b, 2).expect("it has its place already"));
        assert!(desk.reserve(registered, &c, 2).is_none(), "and does not lose it");
        assert!(matches!(
            desk.may_look(registered, from(1), &settings(), now),
            Err(Refused::Full)
        ));
        // Registered by someone, it takes no place any more.
        record.origin = Origin::Registered;
        desk.note(&record);
        desk.reserve(registered, &c, 2).expect("a place is left").keep();
        for gone in [&b, &c] {
            desk.forget(gone);
        }
        assert!(desk.held.is_empty());
    }

    #[test]
    fn looks_are_bounded_below_one_domain_in_all_and_at_once() {
        let (desk, now) = (CnameAdmission::new(), Timestamp::from_secs(1_795_305_600));
        // Each from a network of its own.
        let networks = std::cell::Cell::new(0);
        let may = |domain: &str, now| {
            networks.set(networks.get() + 1);
            desk.may_look(domain, from(networks.get()), &settings(), now).is_ok()
        };
        assert_eq!((0..10).filter(|_| may("a.example", now)).count(), 2);
        assert_eq!((0..10).filter(|i| may(&format!("b{i}.example"), now)).count(), 3);
        let later = now + Duration::from_secs(60);
        assert!(!may("a.example", later), "two in ten minutes");
        assert!(may("c.example", later));
        let turn = desk.looking.turn(1, from(1));
        assert!(turn.is_some() && desk.looking.turn(1, from(2)).is_none());
        drop(turn);
        assert!(desk.looking.turn(1, from(2)).is_some());
    }

    #[tokio::test]
    async fn a_handshake_that_goes_away_while_its_name_is_stored_leaves_no_place_without_a_name() {
        let only = CnameSettings {
            per_registered_domain: 1,
            ..settings()
        };
        let bench = Bench::with_cname(Some(only.clone())).await;
        let (control, a, b) = (&bench.control, name("a.shop.example"), name("b.shop.example"));
        let desk = &control.inner.cname;
        {
            let mut handshake = Box::pin(control.admit_by_cname(&a, from(1), &only));
            while desk.held.is_empty() {
                assert!(futures_util::poll!(&mut handshake).is_pending());
                tokio::task::yield_now().await;
            }
        }
        let stored = async {
            while control.inner.registry.get(a.as_str()).is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let patient = Duration::from_secs(60);
        tokio::time::timeout(patient, stored)
            .await
            .expect("what is stored is served");
        assert!(matches!(
            control.admit_by_cname(&a, from(1), &only).await,
            Admitted::Yes(_)
        ));
        assert!(
            matches!(control.admit_by_cname(&b, from(2), &only).await, Admitted::No),
            "the place is taken"
        );
        // And one whose name cannot be stored gives it back.
        desk.forget(&a);
        bench.store.purge(&a, None, bench.audit("purge", &a)).await.unwrap();
        bench.break_store();
        assert!(matches!(
            control.admit_by_cname(&b, from(2), &only).await,
            Admitted::Unreachable
        ));
        assert!(desk.held.is_empty());
    }

    #[tokio::test]
    async fn names_of_one_network_without_end_leave_room_for_another() {
        let minute = Duration::from_secs(60);
        let only = CnameSettings {
            admission_rate: Limit { count: 60, per: minute },
            lookups: Limit {
                count: 300,
                per: minute,
            },
            max_concurrent_lookups: 16,
            ..settings()
        };
        let bench = Bench::with_cname(Some(only.clone())).await;
        let control = &bench.control;
        let mut admitted = 0;
        for n in 0..400 {
            let name = name(&format!("links.c{n}.example"));
            let answer = control.admit_by_cname(&name, from(1), &only).await;
            admitted += u32::from(matches!(answer, Admitted::Yes(_)));
        }
        // Some seconds may have passed, in which there is room for more.
        assert!((30..60).contains(&admitted), "{admitted}");
        for n in 0..400 {
            let name = name(&format!("missing.c{n}.example"));
            control.admit_by_cname(&name, from(2), &only).await;
        }
        let bystander = name("links.bystander.example");
        let answer = control.admit_by_cname(&bystander, from(3), &only).await;
        assert!(matches!(answer, Admitted::Yes(_)));
    }
}
