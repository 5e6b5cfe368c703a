//! Requests on a kept HTTP/1.1 connection, one after the other.

use std::rc::Rc;
use std::time::Instant;

use tokio::time::timeout;

use crate::Fallible;
use crate::client::{Client, TIMEOUT};
use crate::measure::Turn;

pub(crate) async fn run(client: Rc<Client>, turn: Rc<Turn>) -> Fallible<()> {
    let mut stream = timeout(TIMEOUT, client.connect(&client.connector())).await??;
    let mut buffer = Vec::with_capacity(1024);
    for measured in [false, true] {
        if measured {
            turn.pause().await;
        }
        while turn.goes_on() {
            let begun = Instant::now();
            timeout(TIMEOUT, client.exchange(&mut stream, &mut buffer)).await??;
            turn.answered_in(begun.elapsed());
        }
    }
    Ok(())
}
