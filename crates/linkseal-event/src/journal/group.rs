//! What the journal's thread writes at once: the batches that have arrived, as frames.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::batch::{EncodedEvents, EventMeta, Outcome, SubmittedBatch};
use super::frame;
use super::queue::Queue;
use super::repeats::Counts;
use crate::event::Event;
use crate::metrics::Metrics;

/// A frame buffer that grew beyond this in a burst is freed, in bytes.
const BUFFER_KEPT: usize = 1 << 20;

/// Events that are written together.
pub(super) struct Group {
    batches: Vec<SubmittedBatch>,
    /// Events that no request waits for.
    loose: Vec<EncodedEvents>,
    /// Counts of repetitions; they were never in the queue.
    counts: Counts,
    bytes: usize,
    frames: Vec<u8>,
}

impl Group {
    /// An empty group, with a buffer for its frames.
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

    pub(super) fn add(&mut self, submitted: SubmittedBatch) {
        self.bytes += submitted.events.bodies.len();
        self.batches.push(submitted);
    }

    pub(super) fn add_loose(&mut self, events: EncodedEvents) {
        self.bytes += events.bodies.len();
        self.loose.push(events);
    }

    pub(super) fn add_counts(&mut self, counts: Counts) {
        self.bytes += counts.events.bodies.len();
        self.counts = counts;
    }

    /// The size of its events before framing.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all_events().all(|e| e.metas.is_empty())
    }

    /// Whether a producer keeps some of its events until they are synced.
    pub(super) fn is_kept(&self) -> bool {
        self.batches.iter().any(|submitted| submitted.batch.kept)
    }

    fn all_events(&self) -> impl Iterator<Item = &EncodedEvents> {
        let batches = self.batches.iter().map(|submitted| &submitted.events);
        batches.chain(&self.loose).chain(std::iter::once(&self.counts.events))
    }

    /// Frames its events, numbered from `seq` on; returns the number after the last.
    pub(super) fn encode(&mut self, mut seq: u64, boot: Uuid) -> u64 {
        let mut frames = std::mem::take(&mut self.frames);
        for events in self.all_events() {
            let mut bodies = events.bodies.as_slice();
            for EventMeta { id, length, .. } in &events.metas {
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

    /// Counts its events as written and wakes their requests. Returns the buffer.
    pub(super) fn complete(self, queue: &Queue, metrics: &Metrics) -> Vec<u8> {
        for meta in self.all_events().flat_map(|e| &e.metas) {
            metrics.written(meta.kind, meta.class);
        }
        self.count_out(queue);
        for submitted in &self.batches {
            submitted.batch.written();
        }
        self.into_buffer()
    }

    /// Counts its events as lost and wakes their requests. Returns the buffer.
    pub(super) fn lose(self, queue: &Queue, cause: Option<&str>) -> Vec<u8> {
        self.count_out(queue);
        let loose = self.loose.iter().map(|e| e.metas.len() as u64).sum::<u64>();
        queue.losses.add(loose + self.counts.requests, cause);
        for submitted in &self.batches {
            submitted.batch.lose(Outcome::Lost, &queue.losses, cause);
        }
        self.into_buffer()
    }

    fn count_out(&self, queue: &Queue) {
        let queued = self
            .batches
            .iter()
            .map(|submitted| &submitted.events)
            .chain(&self.loose);
        let (bytes, count) = queued.fold((0, 0), |(bytes, count), events| {
            (bytes + events.bodies.len(), count + events.metas.len())
        });
        queue.count_out(bytes, count);
    }

    pub(super) fn into_buffer(self) -> Vec<u8> {
        if self.frames.capacity() <= BUFFER_KEPT {
            self.frames
        } else {
            Vec::new()
        }
    }
}

/// Which batches have arrived: they are numbered as they are opened, and arrive in any order.
#[derive(Default)]
pub(super) struct Arrivals {
    /// Every batch below this number has arrived.
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
    fn batches_may_arrive_in_any_order() {
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
