//! What the journal's thread writes next: the messages that have arrived, and counts that are due.

use std::time::{Duration, Instant};

use super::{Output, Writer};
use crate::journal::group::Group;
use crate::journal::mailbox::Message;
use crate::settings::Durability;

/// How often due counts of repetitions are collected, while there are any.
const REPEATS_EVERY: Duration = Duration::from_secs(1);
/// How long an event waits for batches that were opened before it.
const AFTER_MAX: Duration = Duration::from_secs(1);
/// With durability `queued` no request waits, so events may gather for this long.
const GATHER: Duration = Duration::from_millis(2);
/// Most bytes written at once.
const GROUP_BYTES: usize = 1 << 20;

impl Writer {
    /// Waits for messages or the next due task, and collects what has arrived, up to the size of one
    /// write.
    pub(super) fn gather(&mut self) -> Group {
        let mut group = Group::new(std::mem::take(&mut self.spare));
        self.state.queue.receive(self.due(), GROUP_BYTES, &mut self.received);
        self.take_received(&mut group);
        if self.state.durability() == Durability::Queued && !self.closing {
            #[allow(clippy::disallowed_methods, reason = "this is the journal's own thread")]
            std::thread::sleep(GATHER);
            self.take_all(&mut group);
        }
        self.add_repeats(&mut group, false);
        self.add_after(&mut group, false);
        group
    }

    /// When something is due even if no message arrives.
    fn due(&self) -> Instant {
        let now = Instant::now();
        let output = match self.output {
            Output::Broken(due) => due,
            Output::Open(_) => self.check_due,
        };
        let losses = self.state.queue.losses.log_due().map(|wait| now + wait);
        let after = (!self.after.is_empty()).then(|| now + AFTER_MAX);
        let others = [losses, after, self.repeats_due];
        others.into_iter().flatten().fold(output, Ord::min)
    }

    pub(super) fn take_all(&mut self, group: &mut Group) {
        let room = GROUP_BYTES.saturating_sub(group.bytes());
        self.state.queue.try_receive(room, &mut self.received);
        self.take_received(group);
    }

    fn take_received(&mut self, group: &mut Group) {
        let mut received = std::mem::take(&mut self.received);
        received.drain(..).for_each(|message| self.take(message, group));
        self.received = received;
    }

    fn take(&mut self, message: Message, group: &mut Group) {
        match message {
            Message::Events(submitted) => {
                self.arrivals.arrived(submitted.batch.number);
                group.add(submitted);
            }
            Message::After(number, events) => self.after.push_back((number, Instant::now(), events)),
            Message::Rotate => self.rotate = true,
            Message::Repeating => {
                self.repeats_due.get_or_insert_with(|| Instant::now() + REPEATS_EVERY);
            }
            Message::Close => self.closing = true,
        }
    }

    /// Adds events that waited for other batches, once those have arrived.
    pub(super) fn add_after(&mut self, group: &mut Group, all: bool) {
        for (number, since, events) in std::mem::take(&mut self.after) {
            // A batch that is never submitted does not hold them back for long.
            if all || self.arrivals.all_below(number) || since.elapsed() >= AFTER_MAX {
                group.add_loose(events);
            } else {
                self.after.push_back((number, since, events));
            }
        }
    }

    /// Adds the counts of repetitions that are due.
    pub(super) fn add_repeats(&mut self, group: &mut Group, all: bool) {
        if all || self.repeats_due.is_some_and(|due| due <= Instant::now()) {
            let counts = self.state.repeats.due(Instant::now(), all);
            self.repeats_due = counts.more.then(|| Instant::now() + REPEATS_EVERY);
            group.add_counts(counts);
        }
    }
}
