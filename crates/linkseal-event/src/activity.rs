//! Recent activity on each domain, for its page: hourly counts and the last few events, of this node
//! since it started.
//!
//! It reads the journal in the background, as a sink does, so no request waits for it; its rate is
//! bounded, and after a burst it catches up. It stores no address, no message and no URL.

mod shown;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_base::shutdown::Tasks;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use parking_lot::Mutex;
use uuid::Uuid;

use self::shown::ShownEvent;
use crate::event_type::EventType;
use crate::journal::BATCH;
use crate::journal::{Follower, Journal, Record};
use crate::verdict::Class;

/// Hours that are kept.
pub const HOURS: usize = 48;
/// Last events that are kept per tenant.
const LAST: usize = 12;
/// Most tenants per domain: those whose links were used last.
const TENANTS: usize = 3;
/// Most domains, those with the latest events: about 1.5 KiB for each tenant.
const MAX_DOMAINS: u64 = 20_000;
/// Pause when everything has been read: pages need not show an event sooner.
const PAUSE: Duration = Duration::from_millis(500);
/// Pause after a full batch: at most 20,000 events a second, about 2 % of a core.
const BATCH_PAUSE: Duration = Duration::from_millis(25);
/// Pause after a failed read.
const RETRY: Duration = Duration::from_secs(10);
const HOUR_MS: i64 = 3_600_000;

/// Recent activity by domain. Clones share it.
#[derive(Clone)]
pub struct Activity {
    domains: Cache<String, Arc<Mutex<Tenants>>>,
    since: Timestamp,
}

/// Activity on one domain by tenant, latest first.
type Tenants = VecDeque<(String, Recent)>;

/// Activity on one domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Hours with events, oldest first; none is more than [`HOURS`] before the latest.
    pub hours: VecDeque<Hour>,
    /// The last events, newest first.
    pub last: VecDeque<Seen>,
}

/// Counts of one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hour {
    /// Hours since the Unix epoch.
    pub hour: i64,
    /// Opens, except by machines.
    pub opens: u32,
    /// Clicks and stored redirects, except by machines.
    pub clicks: u32,
    /// Opens and clicks by machines: prefetched or scanned.
    pub machines: u32,
}

/// An event as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub time: Timestamp,
    pub kind: EventType,
    /// The class of its verdict, if it has one.
    pub class: Option<Class>,
    id: Uuid,
    /// How many requests it stands for.
    requests: u32,
}

impl Activity {
    /// Starts reading a journal, from the beginning of this boot.
    pub fn start(journal: &Journal, tasks: &Tasks) -> Self {
        let this = Self {
            domains: Cache::builder()
                .max_capacity(MAX_DOMAINS)
                // The default policy would keep old domains rather than admit new ones.
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            since: journal.clock().now(),
        };
        tasks.spawn_until_stop(this.clone().follow_journal(journal.clone()));
        this
    }

    /// When counting began.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// The activity on a domain, by its name in lower-case ASCII.
    pub fn of(&self, domain: &str) -> Recent {
        let mut all = Recent::default();
        if let Some(tenants) = self.domains.get(domain) {
            tenants.lock().iter().for_each(|(_, recent)| all.join(recent));
        }
        all
    }

    /// The activity of one tenant's links since the domain belongs to that tenant.
    pub fn of_tenant(&self, domain: &str, tenant: &str, since: Timestamp) -> Recent {
        let Some(tenants) = self.domains.get(domain) else {
            return Recent::default();
        };
        let tenants = tenants.lock();
        let own = tenants.iter().find(|(of, _)| of == tenant);
        let mut own = own.map(|(_, recent)| recent.clone()).unwrap_or_default();
        own.begin(since);
        own
    }

    async fn follow_journal(self, journal: Journal) {
        let mut last = 0;
        loop {
            let mut follower = journal.follow(Some(last));
            let error = self.count_events(&mut follower, &mut last).await;
            tracing::error!(%error, "the journal cannot be read for the activity on pages; retrying");
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Counts what a follower reads, until it fails.
    async fn count_events(&self, follower: &mut Follower, last: &mut u64) -> std::io::Error {
        loop {
            let records = match follower.next().await {
                Ok(records) => records,
                Err(error) => return error,
            };
            records.iter().for_each(|record| self.take(record));
            *last = records.last().map_or(*last, |record| record.seq);
            tokio::time::sleep(if records.len() < BATCH { PAUSE } else { BATCH_PAUSE }).await;
        }
    }

    fn take(&self, record: &Record) {
        // Events of a later version that this one does not know are not shown.
        let Some(event) = ShownEvent::read(&record.json) else {
            return;
        };
        let (Ok(kind), Some(time)) = (event.kind.parse(), Timestamp::parse_rfc3339(&event.time)) else {
            return;
        };
        let class = event.verdict.and_then(|v| Class::parse(&v.class));
        let tenants = self
            .domains
            .entry_by_ref(event.domain.as_ref())
            .or_default()
            .into_value();
        let mut tenants = tenants.lock();
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

impl Recent {
    /// The counts of the last [`HOURS`] hours up to the current one, oldest first, including hours
    /// without events.
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

    /// Adds the activity of another tenant's links.
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

    /// Drops what happened before; the hour that contains `since` stays whole.
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

    /// Applies a corrected verdict. If the event is no longer among the last ones, it is assumed to
    /// have been counted as a person's in this hour: corrections follow within minutes.
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

    /// Changes the counts of an hour, and drops hours that are too old.
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

#[cfg(test)]
mod tests;
