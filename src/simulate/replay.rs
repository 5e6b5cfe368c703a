//! Events in virtual time. The control plane's pure code decides what happens at each; the functions here call it
//! in the order in which `linkseal-control`'s scheduler, preparation and orders do.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use linkseal_base::clock::Timestamp;
use linkseal_control::queue::{Queue, Slot};
use linkseal_control::rules::{self, First, Gate};
use linkseal_control::rules::{Blame, TRIAL_RETRY};
use linkseal_control::scheduler::{LONGEST, PAUSE, REST, Rounds, sleep_after};
use linkseal_control::{Issue, Priority};
use linkseal_domain::DomainName;
use linkseal_domain::dns::DnsVerdict;
use linkseal_domain::ssl::{Failure, Intent, SslEvent, SslStatus};
use linkseal_store::BudgetAnswer;
use tokio::time::Instant;

use super::fleet::{Domain, Fleet, Id};
use super::rng::SeededRng;
use super::tally::{Outcome, Tally};
use super::world::{CA, World};
use super::{DAY, MONTH, MoveTo, Onboarding, Scenario};

/// The start of the virtual time; any other would do.
const START: Timestamp = Timestamp::from_secs(1_798_761_600);

/// Replays a scenario.
pub(crate) fn run(scenario: &Scenario) -> Outcome {
    let mut replay = Replay::new(scenario);
    replay.onboard();
    replay.play();
    replay.outcome()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A domain is registered.
    Register(u32),
    /// A domain's order comes to its end.
    OrderEnds(Id),
}

/// An order at the CA.
struct Running {
    slot: Slot,
    begun: Timestamp,
    /// Whether it names the certificate that it replaces.
    replaces: bool,
    /// The CA's answer to newOrder.
    taken: Result<(), Failure>,
}

struct Replay<'a> {
    scenario: &'a Scenario,
    world: World<'a>,
    dice: SeededRng,
    now: Timestamp,
    end: Timestamp,
    /// The start on the monotonic clock, by which the scheduler counts.
    origin: Instant,
    fleet: Fleet,
    rounds: Rounds<Id>,
    queue: Arc<Queue>,
    running: HashMap<Id, Running>,
    events: BinaryHeap<Reverse<(Timestamp, Event)>>,
    /// When the scheduler's next round begins.
    round_at: Timestamp,
    tally: Tally,
}

impl<'a> Replay<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        Self {
            scenario,
            world: World::new(scenario, START),
            dice: SeededRng::new(scenario.seed),
            now: START,
            end: START + scenario.span,
            origin: Instant::now(),
            fleet: Fleet::default(),
            rounds: Rounds::default(),
            queue: Arc::new(Queue::new(scenario.max_concurrent_orders)),
            running: HashMap::new(),
            events: BinaryHeap::new(),
            round_at: START,
            tally: Tally::new(scenario, START),
        }
    }

    /// Registers all domains, now or at their time.
    fn onboard(&mut self) {
        for number in 0..self.scenario.domains {
            match self.scenario.onboarding {
                Onboarding::Import => self.register(number),
                Onboarding::PerDay(count) => {
                    let at = START + DAY.mul_f64(f64::from(number) / f64::from(count));
                    self.events.push(Reverse((at, Event::Register(number))));
                }
                Onboarding::Running => self.take_over(number),
            }
        }
    }

    fn play(&mut self) {
        loop {
            let event_at = self.events.peek().map(|Reverse((at, _))| *at);
            let next = event_at.map_or(self.round_at, |at| at.min(self.round_at));
            if next > self.end {
                return;
            }
            self.now = next;
            if event_at == Some(next) {
                match self.events.pop() {
                    Some(Reverse((_, Event::Register(number)))) => self.register(number),
                    Some(Reverse((_, Event::OrderEnds(id)))) => self.end_order(id),
                    None => {}
                }
            } else {
                self.round();
            }
            self.start_orders();
        }
    }

    fn wake(&mut self) {
        self.round_at = self.round_at.min(self.now + PAUSE);
    }

    // --- registration ----------------------------------------------------------------------------

    fn register(&mut self, number: u32) {
        let ssl = SslStatus::new(self.now).apply(SslEvent::Wanted, Intent::Wanted, self.now);
        self.add(number, ssl, self.now);
        self.wake();
    }

    /// Adds a domain that was registered long ago: the age of its certificate is random.
    fn take_over(&mut self, number: u32) {
        let life = self.world.certificate(self.now, self.now, &mut self.dice);
        let used = life.renew_at.saturating_since(self.now).mul_f64(self.dice.unit());
        let certificate = self.world.certificate(self.now.minus(used), self.now, &mut self.dice);
        let ssl = SslStatus::new(self.now).apply(SslEvent::Issued(certificate), Intent::Wanted, self.now);
        self.add(number, ssl, self.now.minus(used));
    }

    fn add(&mut self, number: u32, ssl: SslStatus, registered: Timestamp) {
        let share = self.scenario.names_per_registered_domain;
        let name = format!("links{}.customer{}.example", number % share, number / share);
        let Ok(name) = DomainName::parse(&name) else { return };
        let mut domain = Domain::new(name, ssl, registered);
        domain.registered_domain = number / share;
        if !self.scenario.moves.is_empty() {
            domain.lot = self.dice.unit();
        }
        domain.failing = self.dice.happens(self.scenario.failing);
        if self.scenario.departing > 0.0 {
            let stays = self.dice.next_after(MONTH.div_f64(self.scenario.departing));
            domain.departs = Some(self.now + stays);
        }
        self.fleet.add(domain);
    }

    // --- the scheduler's round -------------------------------------------------------------------

    fn round(&mut self) {
        let now = self.now;
        let instant = self.origin + now.saturating_since(START);
        let in_progress = self.fleet.in_progress();
        let Some(limit) = self.rounds.begin(in_progress, instant) else {
            self.round_at = now + LONGEST + PAUSE;
            return;
        };
        let due = self.fleet.due(now, limit);
        // One that was taken up a moment ago rests before it is taken up again.
        let (resting, taken): (Vec<Id>, Vec<Id>) = due.iter().partition(|id| self.rounds.rests(id, instant));
        for id in &taken {
            self.fleet.begin(*id);
        }
        self.fleet.put_back(&due);
        let waiting = self.fleet.in_progress() > self.running.len() + taken.len();
        let next = self.fleet.next_due().and_then(|at| at.since(now)).filter(|_| !waiting);
        let rest = (!resting.is_empty()).then_some(REST);
        self.round_at = now + sleep_after(rest.or(next)) + PAUSE;
        for id in taken {
            self.process(id);
        }
    }

    /// Takes the next step for a domain that was taken up.
    fn process(&mut self, id: Id) {
        match self.decide(id) {
            Some(priority) => {
                let name = self.fleet.domain(id).name.clone();
                // A single tenant, so first come, first served.
                self.queue.push(name, "", priority);
                self.tally.queued(self.now);
            }
            None => self.done(id),
        }
    }

    fn done(&mut self, id: Id) {
        self.fleet.finish(id);
        self.wake();
    }

    /// The priority of the order to queue, if one is needed.
    fn decide(&mut self, id: Id) -> Option<Priority> {
        let (now, priority) = (self.now, Priority::Bulk);
        self.happens(id, SslEvent::Tick);
        let ssl = &self.fleet.domain(id).ssl;
        match rules::first(ssl, true, Issue::OnRegister, false, now) {
            First::Check => {}
            // No order is interrupted here, and all domains are wanted.
            First::Leave | First::Postpone(_) | First::Resume => return None,
        }
        let domain = &*self.fleet.domain(id);
        let asks = domain.asks_at.is_none_or(|at| at <= now);
        if let Some((certificate, _)) = rules::asks_renewal_info(&domain.ssl, now).filter(|_| asks) {
            let event = match self.world.renewal_info(domain, certificate, now) {
                Ok(info) => rules::renewal_info(certificate, Some(info), now, self.dice.unit()),
                Err(retry_after) => rules::no_renewal_info(certificate, retry_after, now),
            };
            let (event, asked) = self.world.until_it_matters(event, now, self.end);
            self.tally.asked_renewal_info(asked);
            if let SslEvent::RenewalInfo { check_at, .. } = event {
                self.fleet.domain(id).asks_at = Some(check_at);
            }
            self.happens(id, event);
        }
        if !rules::is_due(&self.fleet.domain(id).ssl, priority, now) {
            return None;
        }
        let verdict = World::dns(self.fleet.domain(id), now);
        let right = verdict == DnsVerdict::Right;
        self.happens(id, SslEvent::DnsChecked(verdict));
        if !right {
            return None;
        }
        let eta = Some(self.queue.eta(now));
        self.happens(id, SslEvent::Queued { eta });
        Some(rules::urgency(&self.fleet.domain(id).ssl, priority, now))
    }

    fn happens(&mut self, id: Id, event: SslEvent) {
        let now = self.now;
        let domain = self.fleet.domain(id);
        if matches!(event, SslEvent::Issued(_)) {
            domain.asks_at = None;
        }
        domain.ssl = domain.ssl.apply(event, Intent::Wanted, now);
    }

    // --- orders ----------------------------------------------------------------------------------

    /// Starts orders while slots are free.
    fn start_orders(&mut self) {
        while let Some((name, slot)) = self.queue.try_next() {
            self.tally.left_queue(self.now);
            let Some(id) = self.fleet.id(&name) else { continue };
            if let Some(event) = self.admit(id) {
                if matches!(event, SslEvent::HeldBack { .. }) {
                    let before = std::mem::replace(&mut self.fleet.domain(id).held_back, true);
                    self.tally.held_back(before, self.now);
                }
                self.happens(id, event);
                drop(slot);
                self.done(id);
                continue;
            }
            if std::mem::take(&mut self.fleet.domain(id).held_back) {
                self.tally.let_through(self.now);
            }
            self.happens(id, SslEvent::OrderStarted { ca: CA.to_owned() });
            let takes = self.scenario.order_time.mul_f64(0.5 + self.dice.unit());
            self.events.push(Reverse((self.now + takes, Event::OrderEnds(id))));
            let (domain, now) = (self.fleet.domain(id), self.now);
            let replaces = rules::replaces(&domain.ssl, CA).is_some();
            let order = Running {
                slot,
                begun: now,
                replaces,
                taken: self.world.new_order(id, domain, replaces, now),
            };
            self.running.insert(id, order);
        }
    }

    /// `None` if the order may go to the CA, otherwise the event for the domain.
    fn admit(&mut self, id: Id) -> Option<SslEvent> {
        let (now, limits) = (self.now, &self.scenario.limits);
        let (ca, held_back) = (CA.to_owned(), |until, in_queue| SslEvent::HeldBack {
            until,
            ca: CA.to_owned(),
            in_queue,
        });
        let stays_away = rules::held_back(self.fleet.held_back, now);
        let domain = self.fleet.domain(id);
        let replaces = rules::replaces(&domain.ssl, CA).is_some();
        let takes = match rules::gate((&domain.name, &domain.ssl), CA, limits, stays_away, replaces, now) {
            Gate::Wait(until) => return Some(held_back(until, false)),
            Gate::Take(takes) => takes,
        };
        let out_until = self.fleet.trouble.as_ref().and_then(|trouble| trouble.out_until);
        match out_until {
            Some(until) if until > now => return Some(SslEvent::CaUnavailable { until, ca }),
            Some(_) if self.fleet.trial.is_some() => {
                let until = now + TRIAL_RETRY;
                return Some(SslEvent::CaUnavailable { until, ca });
            }
            _ => {}
        }
        match self.fleet.take_budgets(&takes, now) {
            BudgetAnswer::Exhausted { until, .. } => return Some(held_back(until, true)),
            BudgetAnswer::Taken if takes.is_empty() => {}
            BudgetAnswer::Taken => self.tally.taken_from_account(),
        }
        if out_until.is_some() {
            self.fleet.trial = Some(id);
        }
        None
    }

    /// Updates the CA's health by the end of an order.
    fn judge(&mut self, id: Id, failure: Option<&Failure>) {
        match failure.map(|failure| (Blame::of(failure.kind), failure)) {
            Some((Blame::Ca, failure)) => {
                let before = self.fleet.trouble.clone();
                if let Some(after) = rules::one_more(before, CA, failure, self.now, self.dice.unit()) {
                    self.fleet.trouble = Some(after);
                }
            }
            Some((Blame::Us, _)) => {}
            Some((Blame::Others, _)) | None => self.fleet.trouble = None,
        }
        if self.fleet.trial == Some(id) {
            self.fleet.trial = None;
        }
    }

    fn end_order(&mut self, id: Id) {
        let now = self.now;
        let Some(order) = self.running.remove(&id) else {
            return;
        };
        let end = match order.taken {
            Ok(()) => self
                .world
                .order(id, self.fleet.domain(id), order.replaces, now, &mut self.dice),
            Err(refused) => Err(refused),
        };
        self.judge(id, end.as_ref().err());
        let domain = self.fleet.domain(id);
        match end {
            Ok(certificate) => {
                match &domain.ssl.certificate {
                    Some(old) => {
                        if let Some((MoveTo::Past, at)) = self.world.moved(domain, old, now) {
                            self.tally.replaced_after_move(now.saturating_since(at));
                        }
                        self.tally.renewed(old, now);
                    }
                    None => self.tally.first(now.saturating_since(domain.registered), now),
                }
                self.happens(id, SslEvent::Issued(certificate));
            }
            Err(failure) => {
                self.tally.failed(failure.kind, now);
                if let Some(until) = rules::holds_back_all(&failure, now) {
                    self.fleet.held_back = self.fleet.held_back.max(Some(until));
                }
                let domain = self.fleet.domain(id);
                let event = rules::failed(&domain.ssl, failure, self.dice.unit());
                if !order.replaces {
                    let limits = &self.scenario.limits;
                    let takes = rules::certificate_budgets((&domain.name, &domain.ssl), CA, limits);
                    self.fleet.return_budgets(&takes, now);
                }
                self.happens(id, event);
            }
        }
        self.queue.took(now.saturating_since(order.begun));
        drop(order.slot);
        self.done(id);
    }

    // --- the end ---------------------------------------------------------------------------------

    fn outcome(mut self) -> Outcome {
        let end = self.end;
        for domain in self.fleet.domains() {
            let here_at = domain.ssl.certificate.as_ref().map_or(end, |c| c.not_after);
            let reachable = !domain.failing && domain.is_here(here_at);
            match &domain.ssl.certificate {
                Some(held) if held.not_after > end => {}
                Some(ended) if reachable => self.tally.was_expired(ended.not_after, end),
                Some(_) => self.tally.expired_departed(),
                None if reachable => self.tally.still_waits(end.saturating_since(domain.registered)),
                None => self.tally.never_issued(),
            }
        }
        self.tally.outcome(self.fleet.domains().len())
    }
}
