//! Writes a group to the open segment, or to a new one when it is full, and acknowledges its events.

use std::io;
use std::time::Instant;

use super::{Output, Writer};
use crate::journal::group::Group;
use crate::journal::segment::Segment;
use crate::settings::Durability;

impl Writer {
    pub(super) fn write(&mut self, group: Group) {
        let Output::Open(_) = self.output else {
            return self.lose(group, None);
        };
        if group.is_empty() && !self.rotate {
            self.spare = group.into_buffer();
            return;
        }
        self.state.queue.set_busy(true);
        if let Output::Open(segment) = std::mem::replace(&mut self.output, Output::Broken(Instant::now())) {
            let output = self.write_to(segment, group);
            self.set_output(output);
        }
        self.state.queue.set_busy(false);
    }

    /// Writes a group, to a new segment when the current one is full or must be rotated.
    fn write_to(&mut self, mut segment: Segment, mut group: Group) -> Output {
        let first = self.next_seq;
        self.next_seq = group.encode(first, self.state.boot_folder.boot());
        if (std::mem::take(&mut self.rotate) && !segment.is_empty()) || segment.is_full() {
            if let Err(error) = segment.check() {
                return self.recover(segment, group, first, &error);
            }
            match self.next_segment(first) {
                Ok(next) => segment = next,
                // Too many open files, for example: no reason to lose events.
                Err(error) => {
                    tracing::warn!(%error, folder = %self.state.boot_folder.path().display(), "no new journal segment can be created; continuing in the full one");
                    segment.let_grow();
                }
            }
        }
        match self.commit(&mut segment, &group) {
            Ok(()) => {
                self.complete(group);
                Output::Open(segment)
            }
            Err(error) => self.recover(segment, group, first, &error),
        }
    }

    pub(super) fn commit(&self, segment: &mut Segment, group: &Group) -> io::Result<()> {
        if group.is_empty() {
            return Ok(());
        }
        segment.write(group.frames())?;
        if group.is_kept() || self.state.durability() == Durability::Synced {
            segment.sync(group.frames().len())?;
        }
        segment.check()
    }

    /// Publishes a written group to readers and wakes its requests.
    pub(super) fn complete(&mut self, group: Group) {
        if !group.is_empty() {
            self.state.metrics.bytes.add(group.frames().len() as i64);
            self.state.publish(self.next_seq - 1);
        }
        self.spare = group.complete(&self.state.queue, &self.state.metrics);
    }

    pub(super) fn lose(&mut self, group: Group, error: Option<&io::Error>) {
        let cause = error.map(ToString::to_string);
        self.spare = group.lose(&self.state.queue, cause.as_deref());
    }

    fn next_segment(&mut self, first: u64) -> io::Result<Segment> {
        self.freeing_space(|this| this.create_segment(first))
    }

    pub(super) fn create_segment(&self, first: u64) -> io::Result<Segment> {
        let folder = self.state.boot_folder.path();
        let segment = Segment::create(&*self.disk, &folder, first, self.segment_max)?;
        self.state.metrics.bytes.add(segment.len() as i64);
        Ok(segment)
    }
}
