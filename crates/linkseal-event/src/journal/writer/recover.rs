//! Continues in a new segment after an error, or when the open one was removed by hand; frees space on
//! a full disk.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::{CHECK_EVERY, Output, RETRY, Writer};
use crate::journal::group::Group;
use crate::journal::queue::Gate;
use crate::journal::segment::{self, Segment};

impl Writer {
    /// After an error: abandons the segment and writes the group to a new one.
    pub(super) fn recover(&mut self, segment: Segment, group: Group, first: u64, error: &io::Error) -> Output {
        let removed = segment.check().is_err();
        if removed {
            self.report_removed(&segment);
        } else {
            segment.abandon();
        }
        let attempt = self.freeing_space(|this| {
            let mut next = this.open_segment(first)?;
            match this.commit(&mut next, &group) {
                Ok(()) => Ok(next),
                Err(e) => {
                    next.abandon();
                    Err(e)
                }
            }
        });
        match attempt {
            Ok(next) => {
                if !removed {
                    tracing::error!(%error, folder = %self.state.boot_folder.path().display(), "write to a journal segment failed; its last events were written to a new one");
                }
                self.complete(group);
                Output::Open(next)
            }
            Err(error) => {
                // Before the waiting requests are woken, so that their next events are refused at once.
                self.state.queue.set_gate(Gate::Broken);
                self.lose(group, Some(&error));
                Output::Broken(Instant::now() + RETRY)
            }
        }
    }

    /// Checks that the segment is still in place, and continues in a new one if not.
    pub(super) fn check_segment(&mut self) {
        self.check_due = Instant::now() + CHECK_EVERY;
        self.state.queue.set_busy(true);
        match std::mem::replace(&mut self.output, Output::Broken(Instant::now())) {
            Output::Open(segment) => {
                let output = match segment.check() {
                    Ok(()) => Output::Open(segment),
                    Err(error) => self.recover(segment, Group::new(Vec::new()), self.next_seq, &error),
                };
                self.set_output(output);
            }
            broken @ Output::Broken(_) => self.output = broken,
        }
        self.state.queue.set_busy(false);
    }

    /// Logs that the segment was removed or renamed, and records which events sinks may miss.
    pub(super) fn report_removed(&mut self, segment: &Segment) {
        let folder = self.state.boot_folder.path();
        // If no segment is left, the earlier ones were removed too.
        let alone = segment::segments(&folder).is_ok_and(|left| !left.is_empty());
        let first = if alone { segment.first() } else { 1 };
        let last = self.state.published();
        self.state.removed.add(first..last + 1);
        let path = segment.path().display().to_string();
        if self.removals.failed(&path, self.state.boot_folder.clock().now()) {
            tracing::error!(
                path,
                first,
                last,
                "the journal's open segment was removed or renamed; continuing in a new one as soon as it can be created. Its events are lost to sinks that neither hold them nor have it open, and are counted when those sinks continue. Leave the files in events.dir to linkseal: events.keep and events.max_bytes bound them"
            );
        }
    }

    /// Tries to create a segment while there is none.
    pub(super) fn reopen(&mut self) {
        self.state.queue.set_busy(true);
        // The disk may have space for a new segment but not for the test write; both may free space.
        let attempt = self.freeing_space(|this| {
            let mut segment = this.open_segment(this.next_seq)?;
            match segment.test_write() {
                Ok(()) => Ok(segment),
                Err(e) => {
                    segment.abandon();
                    Err(e)
                }
            }
        });
        let output = match attempt {
            Ok(segment) => {
                tracing::info!(folder = %self.state.boot_folder.path().display(), "the journal can be written again");
                Output::Open(segment)
            }
            Err(error) => {
                // The leftover of an attempt that could not be cleaned up: skip its name.
                if error.kind() == io::ErrorKind::AlreadyExists {
                    self.next_seq += 1;
                }
                self.state.queue.losses.set_cause(error.to_string());
                Output::Broken(Instant::now() + RETRY)
            }
        };
        self.set_output(output);
        self.state.queue.set_busy(false);
    }

    /// Creates the folder where missing, and a segment in it for events from `first` on.
    pub(super) fn open_segment(&mut self, first: u64) -> io::Result<Segment> {
        self.freeing_space(|this| {
            let state = &this.state;
            state.boot_folder.prepare(&*this.disk)?;
            if this.has_begun {
                state.reclaimer.begin_cursors(&state.boot_folder.path(), first)?;
            }
            this.create_segment(first)
        })
        .inspect(|_| {
            if let Some(size) = self.state.boot_folder.journal_size() {
                self.state.metrics.bytes.set(size);
            }
        })
    }

    /// Runs something that needs disk space; while the disk is full, removes the oldest segment that
    /// all sinks hold and tries again.
    pub(super) fn freeing_space<T>(&mut self, mut attempt: impl FnMut(&mut Self) -> io::Result<T>) -> io::Result<T> {
        loop {
            let state = Arc::clone(&self.state);
            match attempt(self) {
                Err(e) if is_full(&e) && state.reclaimer.remove_oldest(&state.boot_folder, &state.metrics) => {}
                done => return done,
            }
        }
    }
}

/// Whether an error says that the disk is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
