//! The runtime of the admin port, apart from the one that drives the edge's connections: an expensive
//! admin request never occupies a worker of the data plane.

use std::io;

use linkseal_base::shutdown::Tasks;
use tokio::runtime::{Builder, Runtime};

use super::background::lower_priority;

/// Two, so that one large answer does not hold up the others.
const WORKERS: usize = 2;
/// Threads for blocking work; more of it queues.
const BLOCKING: usize = 16;

/// Shuts the runtime down on drop.
pub(super) struct AdminRuntime(Option<Runtime>);

impl AdminRuntime {
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING)
            .thread_name("admin")
            .on_thread_start(lower_priority)
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs `work` inside the runtime: a socket bound there is driven there.
    pub(super) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _here = self.0.as_ref().map(Runtime::enter);
        work()
    }

    /// The same task tracker, spawning here.
    pub(super) fn tasks(&self, tasks: &Tasks) -> Tasks {
        match &self.0 {
            Some(runtime) => tasks.on(runtime.handle().clone()),
            None => tasks.clone(),
        }
    }
}

impl Drop for AdminRuntime {
    fn drop(&mut self) {
        // No wait: by now the tasks have ended or used up their time.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
