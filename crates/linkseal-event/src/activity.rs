//! What happened of late on each domain, for people who look at its page: counts by the hour, and
//! the last few events, of this node since it started.
//!
//! It reads along behind the journal, as a sink does, so that no request waits for it; how much it
//! reads in a second is bounded, and after a burst it catches up. It holds no address, no message
//! and no URL.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_base::shutdown::Tasks;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde::Deserialize;
use uuid::Uuid;

use crate::event_type::EventType;
use crate::journal::BATCH;
use crate::journal::{Follower, Journal, Record};
use crate::verdict::Class;

/// How many hours are kept.
pub const HOURS: usize = 48;
/// How many of a domain's last events are kept.
const LAST: usize = 12;
/// Tenants of a domain at most: the present one, and those whose links were used last.
const TENANTS: usize = 3;
/// Domains at most, those with the latest events: about 1.5 KiB for each tenant.
const MAX_DOMAINS: u64 = 20_000;
/// Pause after all there was has been read: people need not see an event sooner.
const PAUSE: Duration = Duration::from_millis(500);
/// Pause after a full batch while more waits: 20,000 events a second, some 2 % of a core.
const BREATH: Duration = Duration::from_millis(25);
/// Pause after the journal could not be read.
const TROUBLE: Duration = Duration::from_secs(10);
const HOUR_MS: i64 = 3_600_000;

/// The table. Clones are the same one.
#[derive(Clone)]
pub struct Activity {
    domains: Cache<String, Arc<Mutex<Tenants>>>,
    since: Timestamp,
}

/// What happened on one domain, by tenant, those with the latest events first.
type Tenants = VecDeque<(String, Recent)>;

/// What happened on one domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Hours in which something happened, the oldest first, none older than [`HOURS`] before the
    /// latest.
    pub hours: VecDeque<Hour>,
    /// The last events, the newest first.
    pub last: VecDeque<Seen>,
}

/// Counts of one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hour {
    /// Hours since the Unix epoch.
    pub hour: i64,
    /// Opens, those by machines aside.
    pub opens: u32,
    /// Clicks and stored redirects, those by machines aside.
    pub clicks: u32,
    /// Opens and clicks by programs: fetched ahead, or scanned.
    pub machines: u32,
}

/// One event, as far as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub time: Timestamp,
    /// What.
    pub kind: EventType,
    /// Who did it. `None`: that is not a question here.
    pub class: Option<Class>,
    id: Uuid,
    /// How many requests it stands for.
    requests: u32,
}

impl Activity {
    /// Starts reading along with a journal, from the beginning of this boot.
    pub fn start(journal: &Journal, tasks: &Tasks) -> Self {
        let this = Self {
            domains: Cache::builder()
                .max_capacity(MAX_DOMAINS)
                // The default one would rather keep old names than take a new one in.
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            since: journal.clock().now(),
        };
        tasks.spawn_until_stop(this.clone().read_along(journal.clone()));
        this
    }

    /// Since when events are counted.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// What happened on a domain, by its name in lower-case ASCII.
    pub fn of(&self, domain: &str) -> Recent {
        let mut all = Recent::default();
        if let Some(tenants) = self.domains.get(domain) {
            lock(&tenants).iter().for_each(|(_, recent)| all.join(recent));
        }
        all
    }

    /// The same, of one tenant's links, since the domain is that tenant's.
    pub fn of_tenant(&self, domain: &str, tenant: &str, since: Timestamp) -> Recent {
        let Some(tenants) = self.domains.get(domain) else {
            return Recent::default();
        };
        let tenants = lock(&tenants);
        let own = tenants.iter().find(|(of, _)| of == tenant);
        let mut own = own.map(|(_, recent)| recent.clone()).unwrap_or_default();
        own.begin(since);
        own
    }

    async fn read_along(self, journal: Journal) {
        let mut last = 0;
        loop {
            let mut follower = journal.follow(Some(last));
            let error = self.follow(&mut follower, &mut last).await;
            tracing::error!(%error, "the journal cannot be read for the pages; trying again");
            tokio::time::sleep(TROUBLE).await;
        }
    }

    /// Takes in what a follower reads, until it cannot.
    async fn follow(&self, follower: &mut Follower, last: &mut u64) -> std::io::Error {
        loop {
            let records = match follower.next().await {
                Ok(records) => records,
                Err(error) => return error,
            };
            records.iter().for_each(|record| self.take(record));
            *last = records.last().map_or(*last, |record| record.seq);
            tokio::time::sleep(if records.len() < BATCH { PAUSE } else { BREATH }).await;
        }
    }

    fn take(&self, record: &Record) {
        // What a later version writes and this one does not know is not shown.
        let Ok(event) = serde_json::from_slice::<Looked<'_>>(&record.json) else {
            return;
        };
        let (Ok(kind), Some(time)) = (event.kind.parse(), Timestamp::parse_rfc3339(event.time)) else {
            return;
        };
        let class = event.verdict.and_then(|v| Class::parse(v.class));
        let tenants = self.domains.entry_by_ref(event.domain).or_default().into_value();
        let mut tenants = lock(&tenants);
        let place = tenants.iter().position(|(of, _)| *of == event.tenant);
        let own = place.and_then(|place| tenants.remove(place));
        let (tenant, mut recent) = own.unwrap_or_else(|| (event.tenant.into_owned(), Recent::default()));
        match event.corrects {
            Some(id) => recent.correct(id, class, time, event.link.is_some()),
            None => recent.add(Seen {
                time,
                kind,
                class,
                id: event.id,
                requests: event.repeated.map_or(1, |n| u32::try_from(n).unwrap_or(u32::MAX)),
            }),
        }
        tenants.truncate(TENANTS - 1);
        tenants.push_front((tenant, recent));
    }
}

/// What of an event is looked at.
#[derive(Deserialize)]
struct Looked<'j> {
    id: Uuid,
    #[serde(rename = "type")]
    kind: &'j str,
    time: &'j str,
    domain: &'j str,
    /// Anything may stand in it, escaped.
    #[serde(borrow, default)]
    tenant: Cow<'j, str>,
    link: Option<u16>,
    verdict: Option<Verdict<'j>>,
    corrects: Option<Uuid>,
    repeated: Option<u64>,
}

#[derive(Deserialize)]
struct Verdict<'j> {
    class: &'j str,
}

impl Recent {
    /// The counts of the last [`HOURS`] hours up to the present one, the oldest first; those in
    /// which nothing happened too.
    pub fn last_hours(&self, now: Timestamp) -> Vec<Hour> {
        let last = now.as_millis().div_euclid(HOUR_MS);
        let of = |hour| {
            let found = self.hours.iter().find(|h| h.hour == hour).copied();
            found.unwrap_or(Hour {
                hour,
                ..Hour::default()
            })
        };
        (last + 1 - HOURS as i64..=last).map(of).collect()
    }

    /// Adds what another tenant's links have come to.
    fn join(&mut self, other: &Self) {
        for hour in &other.hours {
            let at = Timestamp::from_millis(hour.hour * HOUR_MS);
            self.at(at, |sum| {
                sum.opens = sum.opens.saturating_add(hour.opens);
                sum.clicks = sum.clicks.saturating_add(hour.clicks);
                sum.machines = sum.machines.saturating_add(hour.machines);
            });
        }
        self.last.extend(&other.last);
        self.last
            .make_contiguous()
            .sort_by_key(|seen| std::cmp::Reverse(seen.time));
        self.last.truncate(LAST);
    }

    /// Leaves out what was before; of the hour in which it began, what is counted stays.
    fn begin(&mut self, since: Timestamp) {
        self.last.retain(|seen| seen.time >= since);
        let first = since.as_millis().div_euclid(HOUR_MS);
        self.hours.retain(|hour| hour.hour >= first);
    }

    fn add(&mut self, seen: Seen) {
        if matches!(seen.kind, EventType::Open | EventType::Click | EventType::Redirect) {
            let (is_click, machine) = (seen.kind != EventType::Open, seen.class.is_some_and(is_machine));
            self.at(seen.time, |hour| {
                let count = hour.count(is_click, machine);
                *count = count.saturating_add(seen.requests);
            });
        }
        self.last.push_front(seen);
        self.last.truncate(LAST);
    }

    /// Later evidence tells who made an event. Where the event is no longer among the last ones, it
    /// is taken to have been counted as a person's in this hour: corrections follow within minutes.
    fn correct(&mut self, id: Uuid, class: Option<Class>, now: Timestamp, has_link: bool) {
        let was = self.last.iter_mut().find(|seen| seen.id == id);
        let (time, is_click, before) = match was {
            Some(seen) => (
                seen.time,
                seen.kind != EventType::Open,
                std::mem::replace(&mut seen.class, class),
            ),
            None => (now, has_link, None),
        };
        let (before, after) = (before.is_some_and(is_machine), class.is_some_and(is_machine));
        self.at(time, |hour| {
            if before != after && *hour.count(is_click, before) > 0 {
                *hour.count(is_click, before) -= 1;
                let count = hour.count(is_click, after);
                *count = count.saturating_add(1);
            }
        });
    }

    /// Changes the counts of an hour; then those that are too old go.
    fn at(&mut self, time: Timestamp, change: impl FnOnce(&mut Hour)) {
        let hour = time.as_millis().div_euclid(HOUR_MS);
        let place = self.hours.partition_point(|h| h.hour < hour);
        if self.hours.get(place).is_none_or(|h| h.hour != hour) {
            let new = Hour {
                hour,
                ..Hour::default()
            };
            self.hours.insert(place, new);
        }
        if let Some(counts) = self.hours.get_mut(place) {
            change(counts);
        }
        let oldest = self.hours.back().map_or(hour, |last| last.hour) - HOURS as i64;
        let gone = self.hours.partition_point(|h| h.hour <= oldest);
        self.hours.drain(..gone);
    }
}

impl Hour {
    fn count(&mut self, is_click: bool, by_machine: bool) -> &mut u32 {
        match (by_machine, is_click) {
            (true, _) => &mut self.machines,
            (false, true) => &mut self.clicks,
            (false, false) => &mut self.opens,
        }
    }
}

fn is_machine(class: Class) -> bool {
    matches!(class, Class::Prefetch | Class::Scanner)
}

fn lock(tenants: &Mutex<Tenants>) -> MutexGuard<'_, Tenants> {
    tenants.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
