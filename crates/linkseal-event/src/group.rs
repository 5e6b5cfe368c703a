//! What the journal's thread writes at once: the batches that have come, as frames.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::queue::{Content, Handed, Member, Outcome, Queue};
use super::repeats::Counts;
use super::{Event, Metrics, frame};

/// A group's buffer that grew beyond this in a burst is given back.
const BUFFER_KEPT: usize = 1 << 20;

/// Events that are written together.
pub(super) struct Group {
    batches: Vec<Handed>,
    /// Events that no request waits for.
    loose: Vec<Content>,
    /// Events that were never in the queue.
    counts: Counts,
    bytes: usize,
    frames: Vec<u8>,
}

impl Group {
    /// An empty one, with a buffer for its frames.
    pub(super) fn new(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self {
            batches: Vec::new(),
            loose: Vec::new(),
            counts: Counts::default(),
            bytes: 0,
            frames: buffer,
        }
    }

    pub(super) fn add(&mut self, handed: Handed) {
        self.bytes += handed.content.bodies.len();
        self.batches.push(handed);
    }

    pub(super) fn add_loose(&mut self, content: Content) {
        self.bytes += content.bodies.len();
        self.loose.push(content);
    }

    /// Adds the counts of events that were not written one by one.
    pub(super) fn add_counts(&mut self, counts: Counts) {
        self.bytes += counts.content.bodies.len();
        self.counts = counts;
    }

    /// How large its events are, before they are frames.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.contents().all(|c| c.events.is_empty())
    }

    /// Whether the makers of some of its events keep them until they have survived the machine.
    pub(super) fn is_kept(&self) -> bool {
        self.batches.iter().any(|handed| handed.batch.kept)
    }

    fn contents(&self) -> impl Iterator<Item = &Content> {
        let batches = self.batches.iter().map(|handed| &handed.content);
        batches.chain(&self.loose).chain(std::iter::once(&self.counts.content))
    }

    /// Makes frames of its events, numbered from `seq` on; the number after the last.
    pub(super) fn encode(&mut self, mut seq: u64, boot: Uuid) -> u64 {
        let mut frames = std::mem::take(&mut self.frames);
        for content in self.contents() {
            let mut bodies = content.bodies.as_slice();
            for Member { id, length, .. } in &content.events {
                let (body, rest) = bodies.split_at_checked(*length).unwrap_or_default();
                bodies = rest;
                frame::write(&mut frames, seq, |out| {
                    Event::encode_head(out, *id, seq, boot);
                    out.extend_from_slice(body);
                });
                seq += 1;
            }
        }
        self.frames = frames;
        seq
    }

    pub(super) fn frames(&self) -> &[u8] {
        &self.frames
    }

    /// It is written: counts its events and tells those who wait. Gives back a buffer.
    pub(super) fn complete(self, queue: &Queue, metrics: &Metrics) -> Vec<u8> {
        for member in self.contents().flat_map(|c| &c.events) {
            metrics.written(member.kind, member.class);
        }
        self.count_out(queue);
        for handed in &self.batches {
            handed.batch.written();
        }
        self.into_buffer()
    }

    /// It could not be written: counts what is lost by that and tells those who wait.
    pub(super) fn lose(self, queue: &Queue, cause: Option<&str>) -> Vec<u8> {
        self.count_out(queue);
        let loose = self.loose.iter().map(|c| c.events.len() as u64).sum::<u64>();
        queue.losses.add(loose + self.counts.requests, cause);
        for handed in &self.batches {
            handed.batch.lose(Outcome::Lost, &queue.losses, cause);
        }
        self.into_buffer()
    }

    fn count_out(&self, queue: &Queue) {
        let queued = self.batches.iter().map(|handed| &handed.content).chain(&self.loose);
        let (bytes, events) = queued.fold((0, 0), |(bytes, events), content| {
            (bytes + content.bodies.len(), events + content.events.len())
        });
        queue.count_out(bytes, events);
    }

    pub(super) fn into_buffer(self) -> Vec<u8> {
        if self.frames.capacity() <= BUFFER_KEPT {
            self.frames
        } else {
            Vec::new()
        }
    }
}

/// Which batches have come: they are numbered as they are opened, and come in any order.
#[derive(Default)]
pub(super) struct Arrivals {
    /// All below this have come.
    next: u64,
    ahead: BTreeSet<u64>,
}

impl Arrivals {
    pub(super) fn arrived(&mut self, number: u64) {
        if number != self.next {
            self.ahead.insert(number);
            return;
        }
        self.next += 1;
        while self.ahead.remove(&self.next) {
            self.next += 1;
        }
    }

    pub(super) fn all_below(&self, number: u64) -> bool {
        self.next >= number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_may_come_in_any_order() {
        let mut arrivals = Arrivals::default();
        assert!(arrivals.all_below(0));
        arrivals.arrived(2);
        arrivals.arrived(0);
        assert!(arrivals.all_below(1) && !arrivals.all_below(2));
        arrivals.arrived(1);
        assert!(arrivals.all_below(3) && !arrivals.all_below(4));
        assert!(arrivals.ahead.is_empty());
    }
}
