//! A bound on what libraries log: a peer must not be able to fill the disk with lines.
//!
//! Our own lines are written with that in mind. Those of libraries are not: h2 warns of every
//! acknowledgement of a ping that was not sent, for example. So each place in a library has a few
//! lines a minute, and one line that says how many were left out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines of one place in a library per [`WINDOW`].
const LINES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Ours, of whatever module.
const OWN: &str = "linkseal";

/// Passes every line of ours, and a few of each place elsewhere. What an operator has asked for
/// below info is not bounded: that is for looking closely, for a while.
#[derive(Default)]
pub(super) struct Bounded {
    /// Places in the code: their number is that of the libraries' own lines.
    places: DashMap<Identifier, Window>,
}

/// Panics, of each place in the code, in the same bounds: a request may cause one.
#[derive(Debug, Default)]
pub(super) struct Panics {
    places: Mutex<HashMap<String, Window>>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    lines: u32,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    Yes,
    No,
    /// It is logged; this many before it were suppressed.
    After(u32),
}

impl Window {
    fn line(&mut self, now: Instant) -> Passed {
        let over = now.saturating_duration_since(self.since) >= WINDOW;
        let left_out = self.lines.saturating_sub(LINES);
        if over {
            *self = Self { since: now, lines: 0 };
        }
        self.lines = self.lines.saturating_add(1);
        match (over, left_out) {
            (true, 1..) => Passed::After(left_out),
            _ if self.lines <= LINES => Passed::Yes,
            _ => Passed::No,
        }
    }
}

impl Panics {
    /// One more at a place.
    pub(super) fn line(&self, place: &str, now: Instant) -> Passed {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = places.get_mut(place) {
            return window.line(now);
        }
        let mut window = Window { since: now, lines: 0 };
        let passed = window.line(now);
        places.insert(place.to_owned(), window);
        passed
    }
}

impl Bounded {
    fn line(&self, place: Identifier, now: Instant) -> Passed {
        let mut window = self.places.entry(place).or_insert(Window { since: now, lines: 0 });
        window.line(now)
    }
}

impl<S: Subscriber> Layer<S> for Bounded {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let about = event.metadata();
        if *about.level() > Level::INFO || is_ours(about.target()) {
            return true;
        }
        match self.line(about.callsite(), Instant::now()) {
            Passed::Yes => true,
            Passed::No => false,
            Passed::After(lines) => {
                tracing::warn!(library = about.target(), lines, "lines of a library were left out");
                true
            }
        }
    }
}

fn is_ours(target: &str) -> bool {
    target
        .strip_prefix(OWN)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::") || rest.starts_with('_'))
}

#[cfg(test)]
mod tests {
    use linkseal_base::testing::Written;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_library_has_a_few_lines_a_minute_and_ours_are_all_written() {
        let written = Written::default();
        let lines = tracing_subscriber::fmt::layer().with_writer(written.clone());
        let subscriber = tracing_subscriber::registry().with(Bounded::default()).with(lines);
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..1_000 {
                tracing::warn!(target: "h2::proto", n, "ping");
                tracing::info!(target: "hickory_resolver", n, "answer");
                tracing::debug!(target: "rustls", n, "asked for");
                tracing::warn!(target: "linkseal_edge", n, "ours");
            }
        });
        let text = written.text();
        for (what, lines) in [("ping", 10), ("answer", 10), ("asked for", 1_000), ("ours", 1_000)] {
            assert_eq!(text.matches(what).count(), lines, "{what}");
        }
        assert!(is_ours("linkseal") && !is_ours("linksealed::x"));
    }

    #[test]
    fn panics_of_each_place_have_a_bound_of_their_own() {
        let (panics, start) = (Panics::default(), Instant::now());
        let passed = (0..1_000)
            .filter(|_| panics.line("a.rs:1:1", start) == Passed::Yes)
            .count();
        assert_eq!(passed, LINES as usize);
        assert_eq!(panics.line("b.rs:1:1", start), Passed::Yes);
        assert_eq!(panics.line("a.rs:1:1", start + WINDOW), Passed::After(1_000 - LINES));
    }

    #[test]
    fn what_was_left_out_is_counted_when_the_minute_is_over() {
        let start = Instant::now();
        let mut window = Window { since: start, lines: 0 };
        let passed = (0..LINES + 5).filter(|_| window.line(start) == Passed::Yes).count();
        assert_eq!(passed, 10);
        assert_eq!(window.line(start + WINDOW), Passed::After(5));
        assert_eq!(window.line(start + WINDOW), Passed::Yes);
        let mut quiet = Window { since: start, lines: 3 };
        assert_eq!(quiet.line(start + WINDOW), Passed::Yes);
    }
}
