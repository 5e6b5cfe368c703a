//! The runtime of event delivery, apart from the one that drives the edge's connections: a slow disk or a
//! receiver that does not answer never occupies a worker of the data plane or of the control plane.

use std::io;

use linkseal_base::shutdown::Tasks;
use tokio::runtime::{Builder, Runtime};

use super::background::lower_priority;

/// A worker awaits receivers and timers only. Files are read and written on further threads, as many as
/// there are sinks whose disk keeps them waiting.
const WORKERS: usize = 1;

/// Shuts the runtime down on drop.
pub(super) struct DeliveryRuntime(Option<Runtime>);

impl DeliveryRuntime {
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("delivery")
            .on_thread_start(lower_priority)
            .enable_all()
            .build()?;
        // Its first thread for files: if there is none to be had, the start fails rather than delivery.
        std::thread::Builder::new()
            .spawn(|| ())?
            .join()
            .map_err(|_| io::Error::other("a thread panicked"))?;
        drop(runtime.spawn_blocking(|| ()));
        Ok(Self(Some(runtime)))
    }

    /// The same task tracker, spawning here.
    pub(super) fn tasks(&self, tasks: &Tasks) -> Tasks {
        match &self.0 {
            Some(runtime) => tasks.on(runtime.handle().clone()),
            None => tasks.clone(),
        }
    }
}

impl Drop for DeliveryRuntime {
    fn drop(&mut self) {
        // No wait: by now the tasks have ended or used up their time.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn tasks_and_their_blocking_work_run_on_threads_of_their_own() {
        let runtime = DeliveryRuntime::new().unwrap();
        let tasks = runtime.tasks(&Tasks::new());
        let name = || thread::current().name().map(str::to_owned);
        assert_eq!(
            tasks.spawn(async move { name() }).await.unwrap().as_deref(),
            Some("delivery")
        );
        assert_eq!(tasks.spawn_blocking(name).await.unwrap().as_deref(), Some("delivery"));
    }
}
