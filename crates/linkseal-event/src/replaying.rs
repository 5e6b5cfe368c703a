//! Gives a sink its dead letters again, a few between one batch and the next, so that new events
//! wait for none of them. What is set aside after a replay began waits for the next one.

use std::collections::{HashSet, VecDeque};
use std::io;

use uuid::Uuid;

use super::handover::Given;
use super::reader::Record;
use super::sink::Again;
use super::worker::{Ended, SinkWorker};

/// How many are given at a time.
const SLICE: usize = 20;
/// How many are read, and removed once they are delivered, at a time: both go through the whole file.
const READ: usize = 1000;

/// A replay at hand.
#[derive(Debug)]
pub(super) struct Replaying {
    /// The last that was there when it began.
    last: (Uuid, u64),
    /// The last one that was read. `None`: none was.
    read: Option<(Uuid, u64)>,
    /// Those to be given next.
    next: VecDeque<Record>,
    /// Those that the sink holds, and that are not removed yet.
    held: HashSet<(Uuid, u64)>,
    delivered: u64,
    refused: u64,
}

impl SinkWorker {
    /// Gives some dead letters again, if an operator wants that.
    pub(super) async fn replay_some(&mut self) -> Ended {
        let replayed = match self.replay_at_hand().await {
            Ok(Some(replay)) => self.replay_slice(replay).await,
            Ok(None) => return Ended::Done,
            Err(error) => Err(error),
        };
        replayed.unwrap_or_else(|error| {
            tracing::error!(%error, sink = self.state.name, "a sink's dead letters cannot be read or removed; what is left stays: replay them again when the disk lets us (what was delivered may come twice)");
            Ended::Done
        })
    }

    /// Whether a replay has begun and is not over.
    pub(super) fn is_replaying(&self) -> bool {
        self.replaying.is_some() || self.state.wants_replay()
    }

    async fn replay_at_hand(&mut self) -> io::Result<Option<Replaying>> {
        if !self.state.take_replay() {
            return Ok(self.replaying.take());
        }
        if let Some(mut replay) = self.replaying.take() {
            self.remove_held(&mut replay).await?;
        }
        let (letters, name) = (self.board.letters().clone(), self.state.name.clone());
        let last = self.on_disk(move || letters.last(&name)).await?;
        Ok(last.map(|last| Replaying {
            last,
            read: None,
            next: VecDeque::new(),
            held: HashSet::new(),
            delivered: 0,
            refused: 0,
        }))
    }

    async fn replay_slice(&mut self, mut replay: Replaying) -> io::Result<Ended> {
        if replay.next.is_empty() {
            self.remove_held(&mut replay).await?;
            self.read_letters(&mut replay).await?;
        }
        let (mut broken_off, mut taken) = (None, false);
        self.sink.begin_anew();
        for _ in 0..SLICE {
            let Some(record) = replay.next.pop_front() else { break };
            self.sink.expect_earlier();
            match self.give(std::slice::from_ref(&record)).await {
                Given::Held => {
                    taken = true;
                    replay.delivered += 1;
                    replay.held.insert((record.boot, record.seq));
                }
                Given::Failed(error) if matches!(error.again, Again::Refused | Again::RefusedAll) => {
                    self.count("refused");
                    replay.refused += 1;
                }
                Given::Failed(error) => {
                    self.count("retry");
                    broken_off = Some(error);
                    break;
                }
                Given::Stopping => {
                    replay.next.push_front(record);
                    break;
                }
            }
        }
        self.sink.begin_anew();
        if taken && broken_off.is_none() {
            self.succeeded();
        }
        let over = replay.next.is_empty() && replay.read.is_none_or(|read| read >= replay.last);
        if !over && broken_off.is_none() && !self.tasks.is_stopping() {
            self.replaying = Some(replay);
            return Ok(Ended::Done);
        }
        self.remove_held(&mut replay).await?;
        if !over && broken_off.is_none() {
            return Ok(Ended::Done);
        }
        let (delivered, refused) = (replay.delivered, replay.refused);
        match broken_off {
            Some(error) => {
                tracing::warn!(
                    sink = self.state.name,
                    delivered,
                    refused,
                    cause = error.cause,
                    "the replay of dead letters broke off; replay them again when the sink takes events"
                );
                Ok(match error.again {
                    Again::Never => self.stop(&error).await,
                    _ => Ended::Done,
                })
            }
            None => {
                tracing::info!(
                    sink = self.state.name,
                    delivered,
                    refused,
                    "dead letters were given to a sink again; what it refused stays"
                );
                Ok(Ended::Done)
            }
        }
    }

    async fn read_letters(&self, replay: &mut Replaying) -> io::Result<()> {
        let (letters, name, after) = (self.board.letters().clone(), self.state.name.clone(), replay.read);
        let records = self.on_disk(move || letters.records(&name, after, READ)).await?;
        // Where none is left, they were dropped meanwhile.
        replay.read = records.last().map_or(Some(replay.last), |r| Some((r.boot, r.seq)));
        let wanted = records.into_iter().filter(|r| (r.boot, r.seq) <= replay.last);
        replay.next = wanted.collect();
        Ok(())
    }

    async fn remove_held(&self, replay: &mut Replaying) -> io::Result<()> {
        if replay.held.is_empty() {
            return Ok(());
        }
        let (letters, name, held) = (
            self.board.letters().clone(),
            self.state.name.clone(),
            std::mem::take(&mut replay.held),
        );
        let remove = move || letters.remove(&name, |boot, seq| held.contains(&(boot, seq)));
        self.on_disk(remove).await.map(drop)
    }
}
