//! Gives a sink its dead letters again, a few between one batch and the next, so that new events
//! wait for none of them.

use std::collections::HashSet;

use uuid::Uuid;

use super::feed::{Ended, Feed};
use super::handover::Given;
use super::sink::Again;

/// How many are given at a time.
const SLICE: usize = 20;

/// A replay at hand.
#[derive(Debug, Default)]
pub(super) struct Replaying {
    /// The last one that was given. `None`: none was.
    after: Option<(Uuid, u64)>,
    delivered: u64,
    refused: u64,
}

impl Feed {
    /// Gives some dead letters again, if an operator wants that.
    pub(super) async fn replay_some(&mut self) -> Ended {
        if self.state.take_replay() {
            self.replaying = Some(Replaying::default());
        }
        let Some(mut replay) = self.replaying.take() else {
            return Ended::Done;
        };
        let (letters, name, after) = (self.board.letters().clone(), self.state.name.clone(), replay.after);
        let records = match self.on_disk(move || letters.records(&name, after, SLICE)).await {
            Ok(records) => records,
            Err(error) => {
                tracing::error!(%error, sink = self.state.name, "a sink's dead letters cannot be read; replay them again when they can");
                return Ended::Done;
            }
        };
        let all = records.len() < SLICE;
        let (mut taken, mut broken_off) = (HashSet::new(), None);
        self.sink.begin_anew();
        for record in &records {
            match self.give(std::slice::from_ref(record)).await {
                Given::Held => drop(taken.insert((record.boot, record.seq))),
                Given::Failed(error) if matches!(error.again, Again::Refused | Again::RefusedAll) => {
                    self.count("refused");
                    replay.refused += 1;
                }
                Given::Failed(error) => {
                    self.count("retry");
                    broken_off = Some(error);
                    break;
                }
                Given::Stopping => break,
            }
            replay.after = Some((record.boot, record.seq));
        }
        self.sink.begin_anew();
        replay.delivered += taken.len() as u64;
        if !taken.is_empty() {
            self.succeeded();
            let (letters, name) = (self.board.letters().clone(), self.state.name.clone());
            let removed = self.on_disk(move || letters.remove(&name, |boot, seq| taken.contains(&(boot, seq))));
            if let Err(error) = removed.await {
                tracing::error!(%error, sink = self.state.name, "dead letters that were delivered cannot be removed; they stay, and a replay delivers them again");
                return Ended::Done;
            }
        }
        let (delivered, refused) = (replay.delivered, replay.refused);
        if let Some(error) = broken_off {
            tracing::warn!(
                sink = self.state.name,
                delivered,
                refused,
                cause = error.cause,
                "the replay of dead letters broke off; replay them again when the sink takes events"
            );
            return match error.again {
                Again::Never => self.stop(&error).await,
                _ => Ended::Done,
            };
        }
        if all {
            tracing::info!(
                sink = self.state.name,
                delivered,
                refused,
                "dead letters were given to a sink again; what it refused stays"
            );
        } else {
            self.replaying = Some(replay);
        }
        Ended::Done
    }
}
