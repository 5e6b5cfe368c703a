//! The runtime of the admin port. What it computes for people and back ends holds none of the workers
//! that drive the edge's connections: between the two the system's scheduler decides.

use std::io;

use linkseal_base::shutdown::Tasks;
use tokio::runtime::{Builder, Runtime};

/// Two: while one answers something large, the other answers the rest.
const WORKERS: usize = 2;
/// Threads for what blocks; more of it waits.
const BLOCKING: usize = 16;

/// The runtime, until this is dropped.
pub(super) struct Office(Option<Runtime>);

impl Office {
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING)
            .thread_name("admin")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Does something on it: a socket that is bound there is driven there.
    pub(super) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _here = self.0.as_ref().map(Runtime::enter);
        work()
    }

    /// The same set of tasks, run there.
    pub(super) fn tasks(&self, tasks: &Tasks) -> Tasks {
        match &self.0 {
            Some(runtime) => tasks.on(runtime.handle().clone()),
            None => tasks.clone(),
        }
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        // Nothing of it is waited for here: the tasks have ended, or have had their time.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
