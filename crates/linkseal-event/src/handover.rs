//! Gives a batch to a sink until it holds it, and keeps one event from holding up the others.
//!
//! A receiver that refuses a batch for good gets its halves, down to the one event that it refuses.
//! That one is set aside (`dead_letters`), at once when it is clear that it is the event's fault:
//! another one is taken. Where that is not clear, a receiver that refuses everything would have all
//! of a queue set aside; then the event is tried for some minutes first.
//!
//! A failure that another attempt may cure is waited out. If it goes on, the batch is halved too: a
//! receiver may break on one event, or take too long for many. Such an event is set aside only when
//! the receiver takes another one after it has failed with this one for minutes.

use std::io;
use std::time::Duration;

use linkseal_base::random;

use super::reader::{FolderReader, Record, Until};
use super::sink::{Again, SinkError};
use super::trouble::Trouble;
use super::worker::{At, Ended, PAUSE, SinkWorker};

/// Pauses after the first, second, … failure in a row, then the last one. Others wait behind what
/// fails, and one small request a minute harms no receiver.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(30),
    LONGEST_PAUSE,
];
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// By how much pauses differ at random, so that a fleet does not come back as one.
const JITTER: f64 = 0.2;
/// How long a batch that is on its way when the program stops may still take.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// How many failures in a row that another attempt may cure are waited out with the whole batch,
/// before it is halved: some two minutes.
const WHOLE_TRIES: u32 = 5;
/// How often one event is tried alone before it may be set aside without being refused for good, or
/// without another one being taken: two to five minutes.
const ALONE_TRIES: u32 = 5;
/// After so many events in a row that are refused and none that is taken, a receiver seems to refuse
/// everything.
const REFUSED_IN_A_ROW: u32 = 10;
/// How many events are looked through for one that the sink gets, to see whether it is taken.
const WITNESSES: usize = 256;

/// How the attempts go. The default is a sink that has not been tried.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) trouble: Trouble,
    /// Events set aside since one was taken.
    refused: u32,
    /// Failures with one event alone.
    alone: u32,
}

/// What a sink did with what it was given.
pub(super) enum Given {
    Held,
    Failed(SinkError),
    Stopping,
}

/// Whose fault it is that one event is not taken.
enum Fault {
    /// The receiver's, as far as can be seen.
    Receiver,
    /// The event's.
    Event,
    /// The event's: the one behind it in the batch was taken.
    EventNextTaken,
}

impl SinkWorker {
    /// Gives what the sink gets of a batch to it until it holds it, then moves the cursor to `last`.
    pub(super) async fn hand_over(&mut self, records: Vec<Record>, at: &mut At, last: u64) -> Ended {
        let records = self.wanted(records);
        if records.is_empty() {
            self.pass(at, last);
            return if self.is_save_due(at) {
                self.save(at).await
            } else {
                Ended::Done
            };
        }
        if self.sink.repeats() {
            at.offered = Some(last);
            match self.save(at).await {
                Ended::Done => {}
                ended => return ended,
            }
        }
        self.sink.begin_anew();
        let mut rest = records.as_slice();
        let mut size = rest.len();
        // Whether failures that may pass have gone on for so long that this batch is taken apart.
        let mut apart = false;
        while !rest.is_empty() {
            let (piece, others) = rest.split_at_checked(size).unwrap_or((rest, &[]));
            let error = match self.give(piece).await {
                Given::Held => {
                    self.succeeded();
                    rest = others;
                    size = size.saturating_mul(2);
                    if let Ended::Stopping = self.step(at, piece, rest).await {
                        return Ended::Stopping;
                    }
                    continue;
                }
                Given::Failed(error) => error,
                Given::Stopping => return Ended::Stopping,
            };
            let (refused, sure) = match error.again {
                Again::Never => return self.stop(&error).await,
                Again::Refused => (true, self.row.refused < REFUSED_IN_A_ROW),
                Again::RefusedAll => (true, false),
                Again::Later | Again::After(_) => (false, false),
            };
            apart |= self.row.trouble.failures() >= WHOLE_TRIES;
            if piece.len() > 1 {
                if refused || apart {
                    size = piece.len() / 2;
                }
                if refused {
                    self.count("refused");
                    continue;
                }
                if self.wait_after(&error, apart.then_some(PAUSE)).await {
                    return Ended::Stopping;
                }
                continue;
            }
            let fault = match sure {
                true => Fault::Event,
                false => self.fault(refused, others, at, last).await,
            };
            let passed = match fault {
                Fault::Receiver if self.wait_after(&error, None).await => return Ended::Stopping,
                Fault::Receiver => continue,
                Fault::Event => 1,
                Fault::EventNextTaken => 2,
            };
            self.count("refused");
            match self.set_aside(piece, &error.cause, at).await {
                Ended::Done => {}
                ended => return ended,
            }
            let (done, others) = rest.split_at_checked(passed).unwrap_or((rest, &[]));
            rest = others;
            if let Ended::Stopping = self.step(at, done, rest).await {
                return Ended::Stopping;
            }
        }
        at.offered = None;
        self.pass(at, last);
        // A cursor that cannot be moved would only have the batch come again, after a restart.
        self.save(at).await
    }

    /// Gives events to the sink once.
    pub(super) async fn give(&mut self, piece: &[Record]) -> Given {
        let tasks = self.tasks.clone();
        let given = tokio::select! {
            given = self.sink.deliver(piece) => given,
            () = async { tasks.stopping().await; tokio::time::sleep(STOP_GRACE).await } => return Given::Stopping,
        };
        match given {
            Ok(()) => {
                self.count("ok");
                Given::Held
            }
            Err(error) => Given::Failed(error),
        }
    }

    /// Moves the cursor after a part of a batch; after its end that comes anyway.
    async fn step(&self, at: &mut At, piece: &[Record], rest: &[Record]) -> Ended {
        match piece.last() {
            Some(last) if !rest.is_empty() => {
                self.pass(at, last.seq);
                self.save(at).await
            }
            _ => Ended::Done,
        }
    }

    /// Whose fault it is that the event before `others` is not taken.
    async fn fault(&mut self, refused: bool, others: &[Record], at: &At, last: u64) -> Fault {
        self.row.alone += 1;
        let late = self.row.alone >= ALONE_TRIES;
        // A failure that may pass is no reason to give up on an event soon.
        if !refused && !late {
            return Fault::Receiver;
        }
        let (witness, of_batch) = match others.first() {
            Some(other) => (Some(other.clone()), true),
            None => (self.witness(at, last).await, false),
        };
        let taken = match witness {
            Some(other) => matches!(self.give(&[other]).await, Given::Held),
            None => false,
        };
        // Also events before the witness are to be taken.
        self.sink.begin_anew();
        if taken {
            self.succeeded();
        }
        match taken {
            true if of_batch => Fault::EventNextTaken,
            true => Fault::Event,
            false if refused && late => Fault::Event,
            false => Fault::Receiver,
        }
    }

    /// An event behind this batch. `None`: there is none yet.
    async fn witness(&self, at: &At, last: u64) -> Option<Record> {
        let folders = self.folders.borrow().clone();
        for folder in folders.iter().filter(|f| f.boot >= at.folder.boot) {
            let after = if folder.boot == at.folder.boot { last } else { 0 };
            let until = match folder.last {
                Some(_) => Until::End,
                None => Until::Published(self.journal.published()),
            };
            let damaged = self.journal.metrics().damaged.clone();
            let (path, boot) = (folder.path.clone(), folder.boot);
            let read = self.on_disk(move || {
                let mut records = Vec::new();
                FolderReader::new(&path, boot, after, damaged).read(until, WITNESSES, &mut records)?;
                Ok(records)
            });
            let found = self.wanted(read.await.unwrap_or_default());
            if let Some(record) = found.into_iter().next() {
                return Some(record);
            }
        }
        None
    }

    /// Sets an event aside.
    async fn set_aside(&mut self, piece: &[Record], cause: &str, at: &At) -> Ended {
        let Some(record) = piece.first().cloned() else {
            return Ended::Done;
        };
        self.row.refused = self.row.refused.saturating_add(1);
        self.row.alone = 0;
        // The first of a row are told one by one, then one in so many.
        if self.row.refused <= REFUSED_IN_A_ROW || self.row.refused.is_multiple_of(100) {
            tracing::error!(
                sink = self.state.name, boot = %record.boot, seq = record.seq, cause, in_a_row = self.row.refused,
                "an event was set aside because its receiver does not take it; see: linkseal events dead-letters list"
            );
        }
        let (letters, name) = (self.board.letters().clone(), self.state.name.clone());
        let (cause, now) = (cause.to_owned(), self.journal.clock().now());
        let add = move || letters.add(&name, &record, &cause, now);
        self.keep_trying(&at.folder, add).await
    }

    /// Notes a failure and waits before the next attempt, at most for `most`; `true` when the program
    /// stops.
    async fn wait_after(&mut self, error: &SinkError, most: Option<Duration>) -> bool {
        let now = self.journal.clock().now();
        let tell = self.row.trouble.failed(&error.cause, now);
        let failures = self.row.trouble.failures();
        let pause = match error.again {
            Again::After(pause) => pause,
            _ => most.unwrap_or(LONGEST_PAUSE).min(pause_after(failures)),
        };
        self.count("retry");
        self.state.failed(&error.cause, failures, now + pause);
        if tell {
            tracing::warn!(
                sink = self.state.name,
                cause = error.cause,
                ?pause,
                failures,
                "a sink did not take its events; trying again"
            );
        }
        self.pause_or_retry(pause).await
    }

    pub(super) fn succeeded(&mut self) {
        let now = self.journal.clock().now();
        if let Some((failures, lasted)) = self.row.trouble.over(now) {
            tracing::info!(
                failures,
                ?lasted,
                sink = self.state.name,
                "a sink takes its events again"
            );
        }
        self.row = Row {
            trouble: std::mem::take(&mut self.row.trouble),
            ..Row::default()
        };
        self.state.succeeded(now);
        let gauge = self
            .journal
            .metrics()
            .last_success
            .with_label_values(&[&self.state.name]);
        gauge.set(now.as_secs());
    }

    /// Stops feeding a sink that wants no more.
    pub(super) async fn stop(&self, error: &SinkError) -> Ended {
        self.count("gone");
        // What was asked for before it said so is no reason to ask it again.
        self.state.take_retry();
        let now = self.journal.clock().now();
        self.show_stopped(Some(now), Some(&error.cause));
        tracing::error!(
            sink = self.state.name,
            cause = error.cause,
            "a sink is stopped: its endpoint said that it is gone; its events stay in the journal. Change its settings, reload, or retry it (linkseal events retry) to go on"
        );
        let stopped = self.stopped.clone();
        let saved: io::Result<()> = self.on_disk(move || stopped.save(now)).await;
        if let Err(error) = saved {
            tracing::error!(%error, sink = self.state.name, "that a sink is stopped cannot be noted; it is asked again after a restart");
        }
        Ended::Stopped
    }
}

/// How long to wait after so many failures in a row, at least one.
fn pause_after(failures: u32) -> Duration {
    let number = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    let pause = PAUSES.get(number).copied().unwrap_or(LONGEST_PAUSE);
    random::jitter(pause, JITTER).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_those_of_a_queue() {
        let within = |failures, seconds: f64| {
            let pause = pause_after(failures).as_secs_f64();
            (seconds * 0.79..=(seconds * 1.21).min(60.0)).contains(&pause)
        };
        for (failures, seconds) in [
            (1, 1.0),
            (2, 5.0),
            (3, 15.0),
            (4, 30.0),
            (5, 60.0),
            (6, 60.0),
            (u32::MAX, 60.0),
        ] {
            assert!(within(failures, seconds), "{failures}");
        }
    }
}
