//! The threads that call SQLite, so that no tokio thread ever waits for a disk.
//!
//! One thread writes, since SQLite has one writer. Calls that queue up while it is syncing share its next
//! transaction, each inside a savepoint of its own, and are answered after one sync: a hundred domains at
//! once cost a few syncs, not hundreds. Reads have threads of their own and never wait behind writes. Before
//! a transaction is committed, the writer checks that its file still has its name.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::identity::Identity;
use crate::StoreError;

/// Calls that can wait for a thread. With records and certificates of some KiB each: some MiB.
const QUEUE: usize = 1024;
/// How long a call waits for a place in a full queue before it fails because the disk is too slow.
const QUEUE_PATIENCE: Duration = Duration::from_secs(5);
/// How long closing waits for a thread that waits for the disk.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);
/// How often closing checks whether a thread has ended.
const CLOSE_POLL: Duration = Duration::from_millis(1);
/// Writes in one transaction: bounds how long the first of them waits for the last.
const GROUP: usize = 256;

/// Threads with a common queue. Dropping it ends them after their present call.
pub(super) struct Workers {
    /// `None`: closed.
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    threads: Vec<JoinHandle<()>>,
    /// How long a call waits for a place in the queue.
    patience: Duration,
}

impl Workers {
    /// One thread that groups writes into transactions. `file`: what the connection has open; once it was
    /// removed or replaced, every write fails. `None`: it has no name.
    pub(super) fn writer(db: Connection, file: Option<Identity>) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let thread = spawn("store-writer".into(), move || write_groups(&db, file.as_ref(), jobs))?;
        Ok(Self {
            queue: Some(queue),
            threads: vec![thread],
            patience: QUEUE_PATIENCE,
        })
    }

    /// A thread for each connection, which take reads from one queue.
    pub(super) fn readers(connections: Vec<Connection>) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let jobs = Arc::new(Mutex::new(jobs));
        let mut workers = Self {
            queue: Some(queue),
            threads: Vec::new(),
            patience: QUEUE_PATIENCE,
        };
        for (n, db) in connections.into_iter().enumerate() {
            let jobs = Arc::clone(&jobs);
            workers
                .threads
                .push(spawn(format!("store-reader-{n}"), move || read(&db, &jobs))?);
        }
        Ok(workers)
    }

    /// Runs `work` on one of the threads, unless the caller is gone before it begins. `deadline` bounds the
    /// wait for the answer, not the work.
    pub(super) async fn call<T, F>(&self, deadline: Duration, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let ended = || StoreError::Unavailable("its thread has ended; restart linkseal".into());
        let queue = self.queue.as_ref().ok_or_else(ended)?;
        let place = timeout(self.patience, queue.reserve()).await.map_err(|_| {
            StoreError::Unavailable(format!("the disk is too slow: {QUEUE} calls have been waiting for it"))
        })?;
        let (reply, answer) = oneshot::channel();
        place.map_err(|_| ended())?.send(Box::new(Call {
            work: Some(work),
            outcome: None,
            reply,
        }));
        let answer = timeout(deadline, answer).await.map_err(|_| {
            let secs = deadline.as_secs();
            StoreError::Unavailable(format!(
                "the disk has not answered for {secs} s; read again what was being changed"
            ))
        })?;
        answer.map_err(|_| ended())?
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue = None;
        join(self.threads.drain(..));
    }
}

/// Waits a short time for threads that were told to end.
pub(super) fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    let until = Instant::now() + CLOSE_PATIENCE;
    for thread in threads {
        while !thread.is_finished() && Instant::now() < until {
            #[allow(clippy::disallowed_methods, reason = "a thread cannot be joined with a deadline")]
            thread::sleep(CLOSE_POLL);
        }
        if !thread.is_finished() {
            tracing::error!("the store could not be closed: its disk does not answer");
        } else if thread.join().is_err() {
            tracing::error!("a thread of the store panicked");
        }
    }
}

/// A queued call.
trait Job: Send {
    /// Whether a caller still waits for it.
    fn is_wanted(&self) -> bool;
    /// Runs it and keeps the outcome; also returns the error, if it is one.
    fn run(&mut self, db: &Connection) -> Result<(), StoreError>;
    /// Answers with the outcome.
    fn finish(self: Box<Self>);
    /// Answers with an error instead.
    fn refuse(self: Box<Self>, error: StoreError);
}

struct Call<T, F> {
    /// `None`: done.
    work: Option<F>,
    /// `None`: not done yet.
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Call<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send,
{
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn run(&mut self, db: &Connection) -> Result<(), StoreError> {
        let Some(work) = self.work.take() else { return Ok(()) };
        match self.outcome.insert(work(db)) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.clone()),
        }
    }

    fn finish(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            // A caller that is gone has to read the store to learn the outcome.
            let _gone = self.reply.send(outcome);
        }
    }

    fn refuse(self: Box<Self>, error: StoreError) {
        let _gone = self.reply.send(Err(error));
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    let failed = |error| StoreError::Unavailable(format!("no thread could be started for it ({error})"));
    thread::Builder::new().name(name).spawn(body).map_err(failed)
}

fn read(db: &Connection, jobs: &Mutex<mpsc::Receiver<Box<dyn Job>>>) {
    loop {
        let next = jobs.lock().blocking_recv();
        let Some(mut job) = next else { return };
        if job.is_wanted() {
            // An error is part of the answer.
            let _answered = job.run(db);
            job.finish();
        }
    }
}

fn write_groups(db: &Connection, file: Option<&Identity>, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP {
            let Ok(job) = jobs.try_recv() else { break };
            group.push(job);
        }
        group.retain(|job| job.is_wanted());
        write_group(db, file, group);
    }
}

/// Runs all calls of a group, makes them durable, and only then answers: even a refusal such as `Conflict`
/// may depend on what another call of the group wrote.
fn write_group(db: &Connection, file: Option<&Identity>, group: Vec<Box<dyn Job>>) {
    let mut done: Vec<Box<dyn Job>> = Vec::with_capacity(group.len());
    for mut job in group {
        match write_one(db, job.as_mut()) {
            Ok(()) => done.push(job),
            Err(error) => {
                // The transaction is gone: nothing of the group so far is stored, and nothing of
                // it has been answered. The next call begins a new one.
                refuse(db, done.drain(..).chain([job]), &error);
            }
        }
    }
    if db.is_autocommit() {
        return;
    }
    match file.map_or(Ok(()), Identity::check).and_then(|()| run(db, "COMMIT")) {
        Ok(()) => done.into_iter().for_each(|job| job.finish()),
        Err(error) => refuse(db, done, &error),
    }
}

/// Runs one call inside a savepoint. An error concerns the whole transaction, not the call alone.
fn write_one(db: &Connection, job: &mut dyn Job) -> Result<(), StoreError> {
    if db.is_autocommit() {
        run(db, "BEGIN IMMEDIATE")?;
    }
    run(db, "SAVEPOINT call")?;
    match job.run(db) {
        Ok(()) => run(db, "RELEASE call"),
        // A full disk or a failed write can make SQLite roll back the whole transaction.
        Err(error) if db.is_autocommit() => Err(error),
        Err(_) => run(db, "ROLLBACK TO call").and_then(|()| run(db, "RELEASE call")),
    }
}

fn refuse(db: &Connection, jobs: impl IntoIterator<Item = Box<dyn Job>>, error: &StoreError) {
    if !db.is_autocommit()
        && let Err(error) = run(db, "ROLLBACK")
    {
        tracing::error!(%error, "the store could not roll back");
    }
    jobs.into_iter().for_each(|job| job.refuse(error.clone()));
}

fn run(db: &Connection, sql: &str) -> Result<(), StoreError> {
    db.prepare_cached(sql)?.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_disk_is_reported() {
        let (soon, late) = (Duration::from_millis(20), Duration::from_secs(60));
        let mut writer = Workers::writer(Connection::open_in_memory().unwrap(), None).unwrap();
        writer.patience = soon;
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let mut held = Box::pin(writer.call(late, move |_| {
            let _waiting = begun.send(());
            let _opened = gate.recv();
            Ok(())
        }));
        assert!(futures_util::poll!(&mut held).is_pending());
        has_begun.await.unwrap();
        // The thread has taken this one alone: all others stay in the queue.
        let late_answer = writer.call(soon, |_| Ok(())).await.unwrap_err();
        assert!(late_answer.to_string().contains("has not answered"), "{late_answer}");

        let mut calls: Vec<_> = (0..QUEUE - 1)
            .map(|_| Box::pin(writer.call(late, |_| Ok(()))))
            .collect();
        for call in &mut calls {
            assert!(futures_util::poll!(call).is_pending());
        }
        let refused = writer.call(late, |_| Ok(())).await.unwrap_err();
        assert!(refused.to_string().contains("too slow"), "{refused}");
        go.send(()).unwrap();
        held.await.unwrap();
        for call in calls {
            call.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_thread_that_waits_for_the_disk_does_not_block_closing() {
        let writer = Workers::writer(Connection::open_in_memory().unwrap(), None).unwrap();
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let mut held = Box::pin(writer.call(CLOSE_PATIENCE, move |_| {
            let _waiting = begun.send(());
            let _opened = gate.recv();
            Ok(())
        }));
        assert!(futures_util::poll!(&mut held).is_pending());
        has_begun.await.unwrap();
        drop(held);
        // Without a limit, this would wait indefinitely.
        drop(writer);
        drop(go);
    }
}
