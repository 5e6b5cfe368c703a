//! The journal's thread: the only one that writes the journal's files.
//!
//! Requests submit their events through `queue`; everything that has arrived when the thread turns to
//! the disk is written by one `write()` and acknowledged together. A disk that is slow, full or hangs
//! blocks this thread, and none that drives connections. `append_cost` in the tests measures it.
//!
//! After a failed write or fsync the segment is not touched again, except to cut off what is not known
//! to be whole. The group is written once more, to a new segment; if the disk is full, segments that
//! all sinks hold are removed first. If that fails too, its events are lost: they are counted, logged
//! at a bounded rate, and until a new segment can be created (tried once a second) events are refused
//! at once instead of keeping recipients waiting. Sequence numbers of lost events are not reused, so a
//! gap in them is a loss. A journal that cannot be written when the edge starts begins in that state.
//!
//! The open segment, its folder or the whole directory may be removed or renamed by hand. After each
//! write, before it is acknowledged, and once a second the thread checks that the segment's path still
//! leads to it. If not, that is handled like a failed write: the group goes to a new segment, in a new
//! folder if needed, and nothing is acknowledged that no reader can find. The loss is logged, and
//! what sinks did not get is counted as lost when they skip it (`removed`). Events that followers had
//! not read are lost to them without a count.

mod commit;
mod gather;
mod recover;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::EncodedEvents;
use super::group::{Arrivals, Group};
use super::mailbox::Message;
use super::queue::Gate;
use super::segment::{Disk, Segment};
use super::writer_state::WriterState;
use crate::failure_streak::FailureStreak;

/// Pause between attempts to create a segment.
const RETRY: Duration = Duration::from_secs(1);
/// How often the segment is checked while nothing is written.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Writes the journal; owned by its thread.
pub(super) struct Writer {
    state: Arc<WriterState>,
    disk: Arc<dyn Disk>,
    segment_max: u64,
    output: Output,
    next_seq: u64,
    arrivals: Arrivals,
    /// Events that wait for the batches below their number.
    after: VecDeque<(u64, Instant, EncodedEvents)>,
    rotate: bool,
    closing: bool,
    /// Whether a segment has existed: if the folder is missing then, it was removed by hand.
    has_begun: bool,
    /// When counts of repetitions are collected; `None` while there are none.
    repeats_due: Option<Instant>,
    check_due: Instant,
    /// Limits log lines about removed segments.
    removals: FailureStreak,
    /// A buffer for the next group.
    spare: Vec<u8>,
    /// A buffer for messages.
    received: Vec<Message>,
}

/// Where events are written.
enum Output {
    Open(Segment),
    /// No segment could be created; when the next attempt is due.
    Broken(Instant),
}

impl Drop for Writer {
    /// Also when it panics: requests must not wait for it then.
    fn drop(&mut self) {
        self.state.queue.end();
    }
}

impl Writer {
    pub(super) fn new(state: Arc<WriterState>, disk: Arc<dyn Disk>, segment_max: u64) -> Self {
        Self {
            state,
            disk,
            segment_max,
            output: Output::Broken(Instant::now()),
            next_seq: 1,
            arrivals: Arrivals::default(),
            after: VecDeque::new(),
            rotate: false,
            closing: false,
            has_begun: false,
            repeats_due: None,
            check_due: Instant::now() + CHECK_EVERY,
            removals: FailureStreak::default(),
            spare: Vec::new(),
            received: Vec::new(),
        }
    }

    /// Creates the folder and its first segment.
    ///
    /// # Errors
    /// When that fails; [`Writer::run`] retries.
    pub(super) fn start(&mut self) -> io::Result<()> {
        self.state.queue.set_busy(true);
        let started = self.open_segment(self.next_seq);
        self.state.queue.set_busy(false);
        match started {
            Ok(segment) => {
                self.set_output(Output::Open(segment));
                Ok(())
            }
            Err(error) => {
                self.state.queue.losses.set_cause(error.to_string());
                self.set_output(Output::Broken(Instant::now() + RETRY));
                Err(error)
            }
        }
    }

    /// Writes events until the journal is closed.
    pub(super) fn run(mut self) {
        while !self.closing {
            let group = self.gather();
            self.write(group);
            self.state.queue.losses.log();
            if self.check_due <= Instant::now() {
                self.check_segment();
            }
            if matches!(self.output, Output::Broken(due) if due <= Instant::now()) {
                self.reopen();
            }
        }
        self.end();
    }

    fn set_output(&mut self, output: Output) {
        self.has_begun |= matches!(output, Output::Open(_));
        self.state.queue.set_gate(match output {
            Output::Open(_) => Gate::Open,
            Output::Broken(_) => Gate::Broken,
        });
        self.output = output;
    }

    /// Writes what is left and syncs it.
    fn end(mut self) {
        loop {
            let mut group = Group::new(std::mem::take(&mut self.spare));
            self.take_all(&mut group);
            let last = group.is_empty();
            self.add_repeats(&mut group, true);
            self.add_after(&mut group, true);
            self.write(group);
            if last {
                break;
            }
        }
        self.state.queue.losses.log();
        if let Output::Open(mut segment) = std::mem::replace(&mut self.output, Output::Broken(Instant::now())) {
            if segment.check().is_err() {
                self.report_removed(&segment);
            } else if let Err(error) = segment.sync(0) {
                tracing::error!(%error, "final sync of the journal failed; its last events may not survive a power failure");
            }
        }
    }
}
