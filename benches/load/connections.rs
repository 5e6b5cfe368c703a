//! Connections with one request each.

use std::rc::Rc;
use std::time::{Duration, Instant};

use rustls::HandshakeKind;

use crate::Fallible;
use crate::arguments::Arguments;
use crate::client::Client;
use crate::events::Events;
use crate::measure::Turn;

/// Limit for a server to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two attempts of `first`.
const RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// One connection after the other. With resumption, the first of all gets the ticket.
pub(crate) async fn run(client: Rc<Client>, turn: Rc<Turn>) -> Fallible<()> {
    let connector = client.connector();
    client.once(&connector, HandshakeKind::Full).await?;
    turn.answered();
    let kind = match client.resumes() {
        true => HandshakeKind::Resumed,
        false => HandshakeKind::Full,
    };
    for measured in [false, true] {
        if measured {
            turn.pause().await;
        }
        while turn.goes_on() {
            let begun = Instant::now();
            client.once(&connector, kind).await?;
            turn.answered_in(begun.elapsed());
        }
    }
    Ok(())
}

/// How long it takes until a server that is starting answers.
pub(crate) async fn first(arguments: &Arguments, client: &Client) -> Fallible<()> {
    let mut events = Events::new(arguments)?;
    let begun = Instant::now();
    let connector = client.connector();
    while let Err(error) = client.once(&connector, HandshakeKind::Full).await {
        if begun.elapsed() > START_TIMEOUT {
            return Err(error);
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
    println!("ms={}", begun.elapsed().as_millis());
    events.arrived(1).await
}
