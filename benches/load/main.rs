//! The client of `peers/run.sh` and `peers/smoke.sh`: sends requests to a server and measures their cost.
//!
//! ```text
//! load MODE --addr ADDR --name NAME --ca ROOT.pem --paths FILE (--body FILE | --location URL)
//!      [--pids PID,PID] [--delivered DIR] [--seconds N] [--clients N] [--until FILE]
//! load machine
//! ```
//! | mode | does | clients |
//! |---|---|---|
//! | `full`, `resumed` | a connection with a handshake of that kind and one request | 16 at once |
//! | `kept` | requests on kept HTTP/1.1 connections | 64 connections |
//! | `streams` | requests on HTTP/2 connections, 10 streams each | 32 connections |
//! | `lone` | one request at a time on one kept HTTP/1.1 connection | 1 |
//! | `tail` | as `full`: what counts is the time until the response | 2 at once |
//! | `idle` | keeps connections open after one request: `pss_kib` of the server per connection | `--clients` |
//! | `first` | retries until a request is answered: `ms` | 1 |
//! | `machine` | what the machine does in one second: `busy` and `steal` in cores | |
//!
//! The result is one line of `key=value`; `measure.rs` says what the keys mean. Every response is checked:
//! status, and body or `Location`. With `--delivered`, the events in the files of that directory are counted:
//! one for each request. Anything unexpected is an error. Without arguments the program exits at once, so that
//! `cargo bench` does not hang.
//!
//! All servers get the same requests: TLS 1.3, X25519, AES-128-GCM, a browser's User-Agent, paths from FILE
//! in turn.

#![allow(
    clippy::disallowed_methods,
    reason = "a client that uses nothing of linkseal; its tasks end with the program"
)]

mod arguments;
mod client;
mod connections;
mod events;
mod kept;
mod measure;
mod memory;
mod proc;
mod streams;

use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use arguments::{Arguments, Mode};
use measure::measure;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The allocator of the servers in Rust, so that the client is not slower than they are.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long `machine` watches.
const MACHINE_TIME: Duration = Duration::from_secs(1);

fn main() -> Fallible<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|mode| mode == "machine") {
        return machine();
    }
    let Some(arguments) = Arguments::parse(&words)? else {
        println!("usage: load full|resumed|kept|streams|lone|tail|idle|first|machine …; see benches/load/main.rs");
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // All clients run on this thread.
    tokio::task::LocalSet::new().block_on(&runtime, run(arguments))
}

async fn run(arguments: Arguments) -> Fallible<()> {
    let client = Rc::new(client::Client::new(&arguments)?);
    match arguments.mode {
        Mode::Full | Mode::Resumed | Mode::Tail => measure(&arguments, client, connections::run).await,
        Mode::Kept | Mode::Lone => measure(&arguments, client, kept::run).await,
        Mode::Streams => measure(&arguments, client, streams::run).await,
        Mode::Idle => memory::idle(&arguments, &client).await,
        Mode::First => connections::first(&arguments, &client).await,
    }
}

fn machine() -> Fallible<()> {
    let before = proc::Machine::read()?;
    std::thread::sleep(MACHINE_TIME);
    let during = proc::Machine::read()?.since(&before);
    println!("busy={:.2} steal={:.2}", during.busy, during.steal);
    Ok(())
}
