//! Memory of idle connections.

use std::time::Duration;

use tokio::time::sleep;

use crate::Fallible;
use crate::arguments::Arguments;
use crate::client::Client;
use crate::events::Events;
use crate::proc::{Machine, cpu_seconds, pss_kib};

/// Connections before the measured ones, which cause one-time allocations in the server.
const FIRST: usize = 16;
/// Time for the server's memory to settle: linkseal gives back what idle connections do not need after a second.
const SETTLE_TIME: Duration = Duration::from_secs(4);

pub(crate) async fn idle(arguments: &Arguments, client: &Client) -> Fallible<()> {
    let mut events = Events::new(arguments)?;
    let connector = client.connector();
    let mut connections = Vec::with_capacity(FIRST + arguments.clients);
    let mut buffer = Vec::with_capacity(1024);
    let mut before = (0.0, 0.0, Machine::read()?);
    for n in 0..FIRST + arguments.clients {
        if n == FIRST {
            sleep(SETTLE_TIME).await;
            before = (pss_kib(&arguments.pids)?, cpu(arguments)?, Machine::read()?);
        }
        let mut stream = client.connect(&connector).await?;
        client.exchange(&mut stream, &mut buffer).await?;
        connections.push(stream);
    }
    sleep(SETTLE_TIME).await;
    let (memory, known, machine) = before;
    let grown = pss_kib(&arguments.pids)? - memory;
    let during = Machine::read()?.since(&machine);
    let others = during.busy - (cpu(arguments)? - known) / during.time.as_secs_f64();
    // All connections must still be usable.
    for stream in &mut connections {
        client.exchange(stream, &mut buffer).await?;
    }
    events.arrived(2 * connections.len() as u64).await?;
    println!(
        "pss_kib={:.2} others={:.2} steal={:.2}",
        grown / arguments.clients as f64,
        others.max(0.0),
        during.steal
    );
    Ok(())
}

fn cpu(arguments: &Arguments) -> Fallible<f64> {
    cpu_seconds(arguments.pids.iter().map(String::as_str).chain(["self"]))
}
