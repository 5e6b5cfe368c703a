//! One turn: clients warm up, pause until the server is at rest, and send requests for a time. What is printed:
//!
//! | key | is |
//! |---|---|
//! | `us` | CPU time of the server per request, in µs, until it is at rest again |
//! | `delivery_us` | of it, that of the threads that deliver events; `-` without such threads |
//! | `count` | requests |
//! | `p50`, `p99`, `max` | time of a request in µs; not in `streams` |
//! | `others` | CPU time that neither the server nor this client used, in cores: who disturbed |
//! | `steal` | of it, what the hypervisor gave to other machines |

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::Fallible;
use crate::arguments::Arguments;
use crate::client::Client;
use crate::events::Events;
use crate::proc::{Machine, cpu_seconds, delivery_seconds};

/// How long clients send requests before the measurement.
const WARM_UP: Duration = Duration::from_millis(300);
/// Time for a server to come to rest, after its last event has arrived.
const REST: Duration = Duration::from_millis(300);
/// Pause between two looks for the file that ends a turn.
const FILE_INTERVAL: Duration = Duration::from_millis(20);

/// What the clients of a turn share.
pub(crate) struct Turn {
    /// Clients begin no request after it. `None`: not known yet.
    end: Cell<Option<Instant>>,
    count: Cell<u64>,
    times: RefCell<Vec<Duration>>,
    gate: Barrier,
}

impl Turn {
    pub(crate) fn goes_on(&self) -> bool {
        self.end.get().is_none_or(|end| Instant::now() < end)
    }

    pub(crate) fn answered(&self) {
        self.count.set(self.count.get() + 1);
    }

    pub(crate) fn answered_in(&self, time: Duration) {
        self.answered();
        self.times.borrow_mut().push(time);
    }

    /// What a client awaits between warm-up and measurement.
    pub(crate) async fn pause(&self) {
        self.gate.wait().await;
        self.gate.wait().await;
    }
}

/// Measures one turn and prints the result.
pub(crate) async fn measure<F>(
    arguments: &Arguments,
    client: Rc<Client>,
    run: impl Fn(Rc<Client>, Rc<Turn>) -> F,
) -> Fallible<()>
where
    F: Future<Output = Fallible<()>> + 'static,
{
    let mut events = Events::new(arguments)?;
    let turn = Rc::new(Turn {
        end: Cell::new(Some(Instant::now() + WARM_UP)),
        count: Cell::new(0),
        times: RefCell::default(),
        gate: Barrier::new(arguments.clients + 1),
    });
    let mut clients = JoinSet::new();
    for _ in 0..arguments.clients {
        clients.spawn_local(run(Rc::clone(&client), Rc::clone(&turn)));
    }
    tokio::select! {
        _ = turn.gate.wait() => {}
        Some(ended) = clients.join_next() => return ended?,
    }
    events.arrived(turn.count.take()).await?;
    turn.times.take();
    tokio::time::sleep(REST).await;

    let before = Sample::take(arguments)?;
    turn.end.set(match arguments.until {
        Some(_) => None,
        None => Some(Instant::now() + arguments.time),
    });
    turn.gate.wait().await;
    if let Some(file) = &arguments.until {
        tokio::select! {
            () = appears(file) => turn.end.set(Some(Instant::now())),
            Some(ended) = clients.join_next() => return ended?,
        }
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    events.arrived(turn.count.get()).await?;
    tokio::time::sleep(REST).await;
    let after = Sample::take(arguments)?;
    print(&before, &after, turn.count.get(), turn.times.take());
    Ok(())
}

async fn appears(file: &Path) {
    while !file.exists() {
        tokio::time::sleep(FILE_INTERVAL).await;
    }
}

/// CPU seconds at one moment.
struct Sample {
    server: f64,
    delivery: Option<f64>,
    own: f64,
    machine: Machine,
}

impl Sample {
    fn take(arguments: &Arguments) -> Fallible<Self> {
        Ok(Self {
            server: cpu_seconds(arguments.pids.iter().map(String::as_str))?,
            delivery: delivery_seconds(&arguments.pids)?,
            own: cpu_seconds(["self"])?,
            machine: Machine::read()?,
        })
    }
}

fn print(before: &Sample, after: &Sample, count: u64, mut times: Vec<Duration>) {
    let server = after.server - before.server;
    let each = |seconds: f64| format!("{:.3}", seconds * 1e6 / count as f64);
    let delivery = before
        .delivery
        .zip(after.delivery)
        .map(|(before, after)| after - before);
    let during = after.machine.since(&before.machine);
    let known = (server + after.own - before.own) / during.time.as_secs_f64();
    times.sort_unstable();
    let quantile = |q: f64| {
        let n = ((times.len() as f64 * q).ceil() as usize).saturating_sub(1);
        times
            .get(n)
            .map_or("-".to_owned(), |time| format!("{:.1}", time.as_secs_f64() * 1e6))
    };
    println!(
        "us={} delivery_us={} count={count} p50={} p99={} max={} others={:.2} steal={:.2}",
        each(server),
        delivery.map_or("-".to_owned(), each),
        quantile(0.5),
        quantile(0.99),
        quantile(1.0),
        (during.busy - known).max(0.0),
        during.steal,
    );
}
