//! A limit on what libraries log, so that a peer cannot fill the disk with log lines.
//!
//! Our own lines are limited where they are written. Those of libraries are not: h2, for example, warns of every
//! acknowledgement of a ping that was not sent. So each callsite in a library gets a few lines a minute, and then
//! one line with the number that was suppressed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines of one callsite per [`WINDOW`].
const LINES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// The start of the targets of our own lines.
const OWN: &str = "linkseal";

/// Passes all of our own lines, and a few of each callsite in a library. Levels below info are not limited: an
/// operator enables them for a short time, to see everything.
#[derive(Default)]
pub(super) struct Bounded {
    /// Bounded by the number of callsites in the code.
    callsites: DashMap<Identifier, Window>,
}

/// The same limit for panics, per place in the code, because a request may cause one.
#[derive(Debug, Default)]
pub(super) struct Panics {
    places: Mutex<HashMap<String, Window>>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    lines: u32,
}

/// Whether a line is logged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    Yes,
    No,
    /// Yes; this many before it were suppressed.
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
    /// Counts one more panic at a place.
    pub(super) fn line(&self, place: &str, now: Instant) -> Passed {
        let mut places = self.places.lock();
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
    fn line(&self, callsite: Identifier, now: Instant) -> Passed {
        let mut window = self
            .callsites
            .entry(callsite)
            .or_insert(Window { since: now, lines: 0 });
        window.line(now)
    }
}

impl<S: Subscriber> Layer<S> for Bounded {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || is_ours(metadata.target()) {
            return true;
        }
        match self.line(metadata.callsite(), Instant::now()) {
            Passed::Yes => true,
            Passed::No => false,
            Passed::After(lines) => {
                tracing::warn!(
                    library = metadata.target(),
                    lines,
                    "log lines of a library were suppressed"
                );
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
    fn a_callsite_in_a_library_gets_a_few_lines_a_minute_and_our_own_are_not_limited() {
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
    fn panics_are_limited_per_place() {
        let (panics, start) = (Panics::default(), Instant::now());
        let passed = (0..1_000)
            .filter(|_| panics.line("a.rs:1:1", start) == Passed::Yes)
            .count();
        assert_eq!(passed, LINES as usize);
        assert_eq!(panics.line("b.rs:1:1", start), Passed::Yes);
        assert_eq!(panics.line("a.rs:1:1", start + WINDOW), Passed::After(1_000 - LINES));
    }

    #[test]
    fn suppressed_lines_are_reported_when_the_minute_is_over() {
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
