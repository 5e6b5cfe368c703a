//! Replays a sink's dead letters, a few between one batch and the next, so that new events do not
//! wait for them. Events set aside after a replay began are left for the next replay.

use std::collections::{HashSet, VecDeque};
use std::io;

use uuid::Uuid;

use super::context::Ended;
use super::deliverer::{Attempt, Deliverer};
use crate::journal::Record;
use crate::journal::lines::Lines;
use crate::sink::{Retry, SinkError};

/// Dead letters delivered between two batches.
const SLICE: usize = 20;
/// Dead letters read at once, and removed at once when delivered: both go through the whole file.
const READ: usize = 1000;

/// The replay of one sink's dead letters.
#[derive(Debug, Default)]
pub(super) struct LetterReplay {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    /// The last dead letter there was when the replay began.
    last: (Uuid, u64),
    /// The last one read.
    read: Option<(Uuid, u64)>,
    next: VecDeque<Record>,
    /// Delivered, and not yet removed from the file.
    held: HashSet<(Uuid, u64)>,
    delivered: u64,
    rejected: u64,
}

impl LetterReplay {
    /// Delivers some dead letters if an operator has asked for a replay.
    pub(super) async fn deliver_some(&mut self, to: &mut Deliverer) -> Ended {
        let replayed = match self.take_running(to).await {
            Ok(Some(running)) => self.deliver_slice(running, to).await,
            Ok(None) => return Ended::Done,
            Err(error) => Err(error),
        };
        replayed.unwrap_or_else(|error| {
            tracing::error!(%error, sink = to.context.name(), "replay of dead letters aborted: their file cannot be read or written; replay again when the disk works (some may be delivered twice)");
            Ended::Done
        })
    }

    /// Whether a replay is running or requested.
    pub(super) fn is_active(&self, of: &Deliverer) -> bool {
        self.running.is_some() || of.context.state.wants_replay()
    }

    async fn take_running(&mut self, of: &Deliverer) -> io::Result<Option<Running>> {
        let context = &of.context;
        if !context.state.take_replay() {
            return Ok(self.running.take());
        }
        if let Some(mut running) = self.running.take() {
            running.remove_held(of).await?;
        }
        let (letters, name) = (context.board.letters().clone(), context.name().to_owned());
        let last = context.on_disk(move || letters.last(&name)).await?;
        Ok(last.map(|last| Running {
            last,
            read: None,
            next: VecDeque::new(),
            held: HashSet::new(),
            delivered: 0,
            rejected: 0,
        }))
    }

    async fn deliver_slice(&mut self, mut running: Running, to: &mut Deliverer) -> io::Result<Ended> {
        if running.next.is_empty() {
            running.remove_held(to).await?;
            running.read_more(to).await?;
        }
        let (accepted, failure) = running.attempt_slice(to).await;
        if accepted && failure.is_none() {
            to.succeeded();
        }
        let over = running.is_over();
        if !over && failure.is_none() && !to.context.tasks.is_stopping() {
            self.running = Some(running);
            return Ok(Ended::Done);
        }
        running.remove_held(to).await?;
        if !over && failure.is_none() {
            return Ok(Ended::Done);
        }
        let (delivered, rejected) = (running.delivered, running.rejected);
        let Some(error) = failure else {
            tracing::info!(
                sink = to.context.name(),
                delivered,
                rejected,
                "replay of dead letters done; rejected ones stay"
            );
            return Ok(Ended::Done);
        };
        tracing::warn!(
            sink = to.context.name(),
            delivered,
            rejected,
            cause = error.cause,
            "replay of dead letters aborted; replay again when the sink accepts events"
        );
        Ok(match error.retry {
            Retry::Never => to.context.stop(&error.cause).await,
            _ => Ended::Done,
        })
    }
}

impl Running {
    /// Offers the next few to the sink: whether it accepted any, and the failure that ended the
    /// slice.
    async fn attempt_slice(&mut self, to: &mut Deliverer) -> (bool, Option<SinkError>) {
        let (mut accepted, mut failure) = (false, None);
        to.sink.forget_accepted();
        for _ in 0..SLICE {
            let Some(record) = self.next.pop_front() else { break };
            to.sink.allow_earlier();
            match to.attempt(&Lines::from(&record)).await {
                Attempt::Accepted => {
                    accepted = true;
                    self.delivered += 1;
                    self.held.insert((record.boot, record.seq));
                }
                Attempt::Failed(error) if matches!(error.retry, Retry::Rejected | Retry::AllRejected) => {
                    to.context.count("refused");
                    self.rejected += 1;
                }
                Attempt::Failed(error) => {
                    to.context.count("retry");
                    failure = Some(error);
                    break;
                }
                Attempt::Stopping => {
                    self.next.push_front(record);
                    break;
                }
            }
        }
        to.sink.forget_accepted();
        (accepted, failure)
    }

    fn is_over(&self) -> bool {
        self.next.is_empty() && self.read.is_none_or(|read| read >= self.last)
    }

    async fn read_more(&mut self, of: &Deliverer) -> io::Result<()> {
        let context = &of.context;
        let (letters, name, after) = (context.board.letters().clone(), context.name().to_owned(), self.read);
        let records = context.on_disk(move || letters.records(&name, after, READ)).await?;
        // If none is left, they have been dropped meanwhile.
        self.read = records.last().map_or(Some(self.last), |r| Some((r.boot, r.seq)));
        let last = self.last;
        self.next = records.into_iter().filter(|r| (r.boot, r.seq) <= last).collect();
        Ok(())
    }

    async fn remove_held(&mut self, of: &Deliverer) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let context = &of.context;
        let (letters, name) = (context.board.letters().clone(), context.name().to_owned());
        let held = std::mem::take(&mut self.held);
        let remove = move || letters.remove(&name, |boot, seq| held.contains(&(boot, seq)));
        context.on_disk(remove).await.map(drop)
    }
}
