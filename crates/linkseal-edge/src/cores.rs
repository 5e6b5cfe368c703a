//! The threads of the data plane: one for each core, with a runtime of its own. A connection stays on the
//! core that it was given to at first; so do its streams, timers and counters.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use linkseal_base::cores;
use linkseal_base::shutdown::Tasks;
use tokio::runtime::{Builder, Handle, LocalOptions};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// After how many polls of tasks a core looks for I/O and timers. In one poll hyper answers up to 16 requests
/// that were sent in a row, so that a client can hold up the others of its core for about a millisecond.
const EVENT_INTERVAL: u32 = 8;

/// The threads, which end when this is dropped.
pub struct Cores {
    set: CoreSet,
    end: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

/// The cores, for those who give them work. Clones share them.
#[derive(Clone)]
pub struct CoreSet {
    cores: Arc<[Core]>,
    stop: CancellationToken,
}

/// One core.
struct Core {
    runtime: Handle,
    tasks: Tasks,
    /// How many connections it has. Written by the cores that accept.
    open: Arc<Load>,
}

/// A counter on a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Load(AtomicUsize);

/// A connection's place on its core, until it is dropped.
pub(crate) struct Place {
    pub(crate) core: usize,
    load: Arc<Load>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Cores {
    /// Starts a thread for each core that the process may use.
    ///
    /// # Errors
    /// A thread or its runtime cannot be started.
    pub fn start() -> io::Result<Self> {
        Self::start_some(cores::count())
    }

    pub(crate) fn start_some(count: usize) -> io::Result<Self> {
        let (stop, end) = (CancellationToken::new(), CancellationToken::new());
        let (mut started, mut threads) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for number in 0..count {
            let (ready, readiness) = mpsc::channel();
            let end = end.clone();
            let thread = std::thread::Builder::new()
                .name(format!("edge-{number}"))
                .spawn(move || run(number, &ready, &end))?;
            threads.push(thread);
            started.push(Core {
                runtime: readiness.recv().map_err(io::Error::other)??,
                tasks: Tasks::stopped_by(stop.child_token()),
                open: Arc::default(),
            });
        }
        let cores = started.into();
        Ok(Self {
            set: CoreSet { cores, stop },
            end,
            threads,
        })
    }

    /// The cores, to give them work.
    pub fn set(&self) -> &CoreSet {
        &self.set
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.set.stop();
        self.end.cancel();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the data plane panicked");
            }
        }
    }
}

impl CoreSet {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.cores.len()
    }

    /// Cancelled when accepting and serving are to end.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// The tasks of a core. `None`: there is no such core.
    pub(crate) fn tasks(&self, core: usize) -> Option<&Tasks> {
        self.cores.get(core).map(|core| &core.tasks)
    }

    /// Runs a task on a core.
    pub(crate) fn spawn_on(&self, core: usize, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(core) = self.cores.get(core) {
            core.tasks.on(core.runtime.clone()).spawn(task);
        }
    }

    /// A place on the core with the fewest connections: on `own`, if it is one of them.
    pub(crate) fn place(&self, own: usize) -> Place {
        let load = |core: &Core| core.open.0.load(Ordering::Relaxed);
        let cores = self.cores.iter().enumerate();
        let least = cores.min_by_key(|(number, core)| (load(core), *number != own));
        let (core, load) = least.map_or_else(|| (own, Arc::default()), |(core, of)| (core, Arc::clone(&of.open)));
        load.0.fetch_add(1, Ordering::Relaxed);
        Place { core, load }
    }

    /// How many connections each has.
    #[cfg(test)]
    pub(crate) fn loads(&self) -> Vec<usize> {
        let load = |core: &Core| core.open.0.load(Ordering::Relaxed);
        self.cores.iter().map(load).collect()
    }

    /// Asks every connection to end, and stops accepting.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits at most `deadline` for all connections to end; returns whether they did.
    pub async fn wait(&self, deadline: Duration) -> bool {
        let until = Instant::now() + deadline;
        for core in &*self.cores {
            if !core.tasks.wait(until.saturating_duration_since(Instant::now())).await {
                return false;
            }
        }
        true
    }
}

/// The thread of a core.
fn run(number: usize, ready: &mpsc::Sender<io::Result<Handle>>, end: &CancellationToken) {
    cores::enter(number);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build_local(LocalOptions::default());
    // The starter waits for this message.
    let runtime = match runtime {
        Ok(runtime) => {
            let _ = ready.send(Ok(runtime.handle().clone()));
            runtime
        }
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    runtime.block_on(end.cancelled());
    // No wait for blocking work: by now it has ended or used up its time.
    runtime.shutdown_background();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_to_the_core_with_the_fewest() {
        let cores = Cores::start_some(3).unwrap();
        let mut places: Vec<_> = (0..3).map(|_| cores.set().place(1)).collect();
        assert_eq!(places.iter().map(|p| p.core).collect::<Vec<_>>(), [1, 0, 2]);
        // The connection on core 0 ends.
        drop(places.remove(1));
        assert_eq!(cores.set().place(1).core, 0);
    }

    #[tokio::test(flavor = "local")]
    async fn a_task_runs_on_the_thread_of_its_core_and_is_waited_for() {
        let cores = Cores::start_some(2).unwrap();
        let (said, names) = mpsc::channel();
        for core in [0, 1] {
            let said = said.clone();
            cores.set().spawn_on(core, async move {
                said.send(std::thread::current().name().map(str::to_owned)).unwrap();
            });
        }
        assert!(cores.set().wait(crate::testing::PATIENT).await);
        let mut names: Vec<_> = names.try_iter().flatten().collect();
        names.sort();
        assert_eq!(names, ["edge-0", "edge-1"]);
    }
}
