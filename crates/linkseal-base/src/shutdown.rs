//! Orderly shutdown: every background task belongs to a [`Tasks`], which asks all of its tasks to stop
//! and waits for them.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of one part of the program. Clones share the same set.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// `None`: tasks run on the runtime they are spawned from.
    runtime: Option<Handle>,
}

impl Tasks {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty set that is stopped by a token.
    pub fn stopped_by(stop: CancellationToken) -> Self {
        Self {
            stop,
            ..Self::default()
        }
    }

    /// A set that is stopped when this one is, and can be stopped and waited for alone.
    pub fn child(&self) -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: self.stop.child_token(),
            runtime: self.runtime.clone(),
        }
    }

    /// The same set; what is spawned through this handle runs on `runtime`, wherever it is spawned from.
    pub fn on(&self, runtime: Handle) -> Self {
        Self {
            runtime: Some(runtime),
            ..self.clone()
        }
    }

    /// Runs a task in this set. It should end soon after [`Tasks::stopping`] resolves.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match &self.runtime {
            Some(runtime) => self.tracker.spawn_on(task, runtime),
            None => self.tracker.spawn(task),
        }
    }

    /// Runs a task on this thread, which must be that of a local runtime.
    pub fn spawn_local<F>(&self, task: F)
    where
        F: Future<Output = ()> + 'static,
    {
        // The handle is not needed: the tracker waits for the task.
        drop(self.tracker.spawn_local(task));
    }

    /// Runs a task that is dropped at its next await point when the set is stopped.
    pub fn spawn_until_stop<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn(until(self.stop.clone(), task));
    }

    /// As [`Tasks::spawn_until_stop`], on this thread, which must be that of a local runtime.
    pub fn spawn_local_until_stop<F>(&self, task: F)
    where
        F: Future<Output = ()> + 'static,
    {
        self.spawn_local(until(self.stop.clone(), task));
    }

    /// Runs blocking work in this set.
    pub fn spawn_blocking<F, T>(&self, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match &self.runtime {
            Some(runtime) => self.tracker.spawn_blocking_on(work, runtime),
            None => self.tracker.spawn_blocking(work),
        }
    }

    /// Resolves when the set is stopped.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// The token that is cancelled when the set is stopped.
    pub fn token(&self) -> &CancellationToken {
        &self.stop
    }

    /// Whether [`Tasks::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Asks every task to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits at most `deadline` for all tasks to end; returns whether they did.
    pub async fn wait(&self, deadline: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok()
    }

    /// The number of running tasks.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether no task runs.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }
}

async fn until(stop: CancellationToken, task: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = task => {}
    }
}
