//! The worker of one sink: delivers the journal's folders to it, in order, until shutdown.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use linkseal_base::clock::Timestamp;

use super::context::{DISK_PAUSE, Ended};
use super::deliverer::{Deliverer, Position};
use super::letter_replay::LetterReplay;
use crate::event::time_of;
use crate::failure_streak::elapsed;
use crate::journal::cursor::{Cursor, CursorState};
use crate::journal::folder::Folder;
use crate::journal::lines::{Lines, LinesBuffer};
use crate::journal::reader::{FolderReader, Stop, Until};
use crate::journal::segment;

/// How long a worker waits after a batch for more events to join the next one. No request waits for
/// this; without it every click would cost fsyncs of its own.
const LINGER: Duration = Duration::from_millis(200);
/// Attempts to read a segment before it is skipped: about a minute.
const READ_TRIES: u32 = 60;
/// How often a sink runs its maintenance.
const MAINTAIN_EVERY: Duration = Duration::from_secs(60);

/// Delivers the journal to one sink.
pub(super) struct SinkWorker {
    deliverer: Deliverer,
    replay: LetterReplay,
    maintained: Timestamp,
}

/// What was read from the journal at once.
struct ReadBatch {
    /// The events that the sink subscribes to.
    lines: Lines,
    /// The time of the first event of any type.
    oldest: Option<Timestamp>,
    /// Sequence numbers between what the sink held and the last event, without an event.
    gaps: Vec<Range<u64>>,
    /// The sequence number after that of the last event.
    next: u64,
    /// Up to where the folder has been read.
    last: u64,
    stop: Stop,
}

impl SinkWorker {
    pub(super) fn new(deliverer: Deliverer) -> Self {
        Self {
            replay: LetterReplay::default(),
            maintained: deliverer.context.now(),
            deliverer,
        }
    }

    /// Delivers until shutdown.
    pub(super) async fn run(mut self) {
        let mut done = 0;
        if self.is_stopped().await && self.wait_stopped().await {
            return;
        }
        loop {
            let Some(folder) = self.folder(done).await else { return };
            match self.deliver_folder(&folder).await {
                Ended::Done => done += 1,
                Ended::Stopping => return,
                Ended::Stopped if self.wait_stopped().await => return,
                Ended::Stopped => {}
            }
        }
    }

    /// The folder of that number, once it is published; `None` at shutdown.
    async fn folder(&mut self, number: usize) -> Option<Arc<Folder>> {
        let tasks = self.deliverer.context.tasks.clone();
        tokio::select! {
            biased;
            found = self.deliverer.folders.wait_for(|all| all.len() > number) => found.ok()?.get(number).cloned(),
            () = tasks.stopping() => None,
        }
    }

    async fn deliver_folder(&mut self, folder: &Arc<Folder>) -> Ended {
        let _inside = folder.enter();
        let context = &self.deliverer.context;
        let cursor = Cursor::new(&folder.path, context.name());
        let start = match self.cursor_state(&cursor, folder).await {
            Ok(start) => start,
            Err(ended) => {
                if let Some(held) = context.state.held(folder.boot) {
                    context.count_removed(folder, held).await;
                }
                return ended;
            }
        };
        let mut at = Position {
            folder: Arc::clone(folder),
            cursor,
            held: start.held,
            offered: start.offered,
            unsaved: false,
            saved_at: context.now(),
        };
        let ended = self.deliver_from(&mut at).await;
        if at.unsaved {
            self.deliverer.save(&mut at).await;
        }
        ended
    }

    async fn deliver_from(&mut self, at: &mut Position) -> Ended {
        let folder = Arc::clone(&at.folder);
        self.show_held(at);
        let mut reader = Some(self.deliverer.context.reader(&folder, at.held));
        let mut repeat = at.offered.filter(|_| self.deliverer.sink.needs_stable_batches());
        let mut failures = 0;
        // The memory of the last batch, while more is to be read at once.
        let mut spare = BytesMut::new();
        loop {
            if let Ended::Stopped = self.replay.deliver_some(&mut self.deliverer).await {
                return Ended::Stopped;
            }
            let context = &self.deliverer.context;
            let batch = self.deliverer.sink.batch();
            let (until, limit) = match (repeat, folder.last) {
                // The same batch as before a restart, whatever has been written since.
                (Some(offered), _) => (Until::Published(offered), usize::MAX),
                (None, Some(_)) => (Until::End, batch),
                (None, None) => (Until::Published(context.journal.published()), batch),
            };
            let read = self.read(&mut reader, until, limit, at.held, std::mem::take(&mut spare));
            let (batch, last) = match read.await {
                Ok(batch) => {
                    failures = 0;
                    context.disk_works();
                    let last = self.skip_removed(at, &batch);
                    (batch, last)
                }
                Err(error) => {
                    failures += 1;
                    if context.disk_failed(&error) {
                        tracing::error!(%error, path = %folder.path.display(), sink = context.name(), "the journal cannot be read; retrying");
                    }
                    if context.pause(DISK_PAUSE).await {
                        return Ended::Stopping;
                    }
                    if failures >= READ_TRIES {
                        failures = 0;
                        if let Some(ended) = self.skip_unreadable(at).await {
                            return ended;
                        }
                    }
                    reader = Some(context.reader(&folder, at.held));
                    continue;
                }
            };
            let empty = last <= at.held;
            if !empty {
                context.state.set_oldest(batch.oldest);
                let text = batch.lines.buffer();
                match self.deliverer.deliver_batch(batch.lines, at, last).await {
                    Ended::Done => self.show_held(at),
                    ended => return ended,
                }
                if batch.stop == Stop::Enough {
                    spare = text.try_into_mut().unwrap_or_default();
                }
            }
            self.maintain().await;
            let context = &self.deliverer.context;
            match (batch.stop, folder.last) {
                (Stop::Enough, _) => {}
                (Stop::End, _) if repeat.take().is_some() => {}
                (Stop::End, Some(_)) => {
                    context.count_removed(&folder, at.held).await;
                    return Ended::Done;
                }
                (Stop::End, None) => {
                    if context.tasks.is_stopping() {
                        // Events written meanwhile are still delivered.
                        if empty || context.journal.published() <= last {
                            return Ended::Stopping;
                        }
                        continue;
                    }
                    if !self.replay.is_active(&self.deliverer) {
                        self.wait_for_more(last).await;
                    }
                }
            }
        }
    }

    fn show_held(&self, at: &Position) {
        let context = &self.deliverer.context;
        context.board.set_held(&context.state, at.folder.boot, at.held);
    }

    /// Reads the cursor in a folder. `Err` when this sink has nothing to do there, or at shutdown.
    async fn cursor_state(&self, cursor: &Cursor, folder: &Folder) -> Result<CursorState, Ended> {
        let context = &self.deliverer.context;
        loop {
            let read = context.on_disk({
                let cursor = cursor.clone();
                move || cursor.state()
            });
            match read.await {
                Ok(Some(state)) => return Ok(state),
                // The sink was not configured when these events happened.
                Ok(None) if folder.last.is_some() => return Err(Ended::Done),
                // The cursor existed when this delivery began and has been removed since.
                Ok(None) => {
                    let held = context.state.held(folder.boot).unwrap_or(0);
                    return Ok(CursorState { held, offered: None });
                }
                Err(error) => {
                    if context.disk_failed(&error) {
                        tracing::error!(%error, sink = context.name(), "the cursor of a sink cannot be read; retrying");
                    }
                    if context.pause(DISK_PAUSE).await {
                        return Err(Ended::Stopping);
                    }
                }
            }
        }
    }

    /// Reads up to `limit` events after `held` on a blocking thread.
    async fn read(
        &self,
        slot: &mut Option<FolderReader>,
        until: Until,
        limit: usize,
        held: u64,
        spare: BytesMut,
    ) -> io::Result<ReadBatch> {
        let mut reader = slot
            .take()
            .ok_or_else(|| io::Error::other("the last read was aborted"))?;
        let (subscription, boot) = (self.deliverer.subscription.clone(), reader.boot());
        let read = self.deliverer.context.tasks.spawn_blocking(move || {
            let mut lines = LinesBuffer::new(spare);
            let (mut oldest, mut gaps, mut next) = (None, Vec::new(), held + 1);
            let stop = reader.read(until, limit, |seq, json| {
                oldest.get_or_insert_with(|| time_of(json));
                if seq != next {
                    gaps.push(next..seq);
                }
                next = seq + 1;
                if subscription.takes(json) {
                    lines.push(seq, json);
                }
            });
            let batch = stop.map(|stop| ReadBatch {
                lines: lines.finish(boot),
                oldest: oldest.flatten(),
                gaps,
                next,
                last: reader.last(),
                stop,
            });
            (reader, batch)
        });
        let (reader, batch) = read.await.map_err(io::Error::other)?;
        *slot = Some(reader);
        batch
    }

    /// Skips a segment that the disk cannot read, so that it does not block the events behind it
    /// indefinitely. `Some` when nothing follows it in this folder.
    async fn skip_unreadable(&self, at: &mut Position) -> Option<Ended> {
        let context = &self.deliverer.context;
        let path = at.folder.path.clone();
        let segments = context
            .on_disk(move || segment::segments(&path))
            .await
            .unwrap_or_default();
        let later = segments.iter().map(|s| s.first).find(|first| *first > at.held + 1);
        match later {
            Some(first) => {
                let lost = first - 1 - at.held;
                context.journal.metrics().lost.inc_by(lost);
                tracing::error!(lost, path = %at.folder.path.display(), sink = context.name(), "an unreadable journal segment was skipped; this sink does not get its events");
                at.advance(first - 1);
                None
            }
            None if at.folder.last.is_some() => {
                tracing::error!(path = %at.folder.path.display(), sink = context.name(), "the unreadable end of a journal folder was skipped; it is read again after a restart");
                Some(Ended::Done)
            }
            None => None,
        }
    }

    /// After a read of this boot's folder: skips events that were removed by hand, and counts them
    /// as lost. Returns the sequence number up to which nothing more can be read.
    fn skip_removed(&self, at: &Position, batch: &ReadBatch) -> u64 {
        let context = &self.deliverer.context;
        let removed = context.journal.removed();
        if at.folder.last.is_some() || removed.is_empty() {
            return batch.last;
        }
        for gap in &batch.gaps {
            context.journal.skip_removed(gap, context.name());
        }
        let last = batch.last.max(at.held);
        let end = match batch.stop {
            Stop::Enough => last + 1,
            Stop::End => removed.next_present(last + 1),
        };
        context.journal.skip_removed(&(batch.next..end), context.name());
        end - 1
    }

    /// Whether the endpoint was gone before this start.
    async fn is_stopped(&self) -> bool {
        let context = &self.deliverer.context;
        let note = context.stop_note.clone();
        let since = context.on_disk(move || note.since()).await.unwrap_or_else(|error| {
            tracing::error!(%error, sink = context.name(), "the stop note of a sink cannot be read; delivering to it");
            None
        });
        context.show_stopped(since, None);
        if let Some(since) = since {
            tracing::error!(sink = context.name(), %since, "sink is stopped because its endpoint is gone (410); change its settings, reload, or run `linkseal events retry` to resume");
        }
        since.is_some()
    }

    /// Waits until an operator retries the sink; returns `true` at shutdown.
    async fn wait_stopped(&self) -> bool {
        let context = &self.deliverer.context;
        while !context.state.take_retry() {
            tokio::select! {
                () = context.tasks.stopping() => return true,
                () = context.state.wake.notified() => {}
            }
        }
        tracing::info!(sink = context.name(), "an operator retries a stopped sink");
        let note = context.stop_note.clone();
        if let Err(error) = context.on_disk(move || note.clear()).await {
            tracing::error!(%error, sink = context.name(), "the stop note of a sink cannot be removed; the sink is stopped again after a restart");
        }
        context.show_stopped(None, None);
        false
    }

    /// Runs the sink's maintenance when it is due. Every delivered batch is durable by now.
    async fn maintain(&mut self) {
        let now = self.deliverer.context.now();
        if elapsed(self.maintained, now) >= MAINTAIN_EVERY {
            self.maintained = now;
            self.deliverer.sink.maintain(now).await;
        }
    }

    /// Waits for events after `last`, and a moment longer so that more can join them.
    async fn wait_for_more(&self, last: u64) {
        let context = &self.deliverer.context;
        let changed = context.journal.changed().notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        tokio::select! {
            () = context.tasks.stopping() => return,
            () = changed, if context.journal.published() <= last => {}
            () = std::future::ready(()), if context.journal.published() > last => {}
            // An operator asked for a retry or a replay.
            () = context.state.wake.notified() => return,
            // No event, but maintenance is due.
            () = context.journal.clock().sleep(MAINTAIN_EVERY) => return,
        }
        tokio::select! {
            () = context.tasks.stopping() => {}
            () = tokio::time::sleep(LINGER) => {}
        }
    }
}
