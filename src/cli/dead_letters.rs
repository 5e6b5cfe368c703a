//! `linkseal events dead-letters`: events that a sink's receiver refused, through the admin API of a running
//! edge. On a stopped node they are in NDJSON files beside the journal, `dead-letters-{sink}.ndjson`.

use clap::Subcommand;
use serde::Deserialize;
use serde_json::Value;

use super::admin_client::{AdminClient, AdminOptions, query_value, read};
use super::paging::Cursor;
use super::{Failure, output};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print a sink's dead letters, oldest first: one JSON object per line with the event and the receiver's answer.
    List {
        #[command(flatten)]
        of: Of,
    },
    /// Deliver a sink's dead letters again, beside new events. Those it accepts are removed, those it refuses stay.
    Replay {
        #[command(flatten)]
        of: Of,
    },
    /// Delete a sink's dead letters. They cannot be recovered.
    Drop {
        #[command(flatten)]
        of: Of,
    },
}

/// The edge, and its sink.
#[derive(Debug, clap::Args)]
pub(super) struct Of {
    #[command(flatten)]
    admin: AdminOptions,
    /// The sink's name in the configuration.
    #[arg(long, value_name = "NAME")]
    sink: String,
    /// Print the answer as JSON. `list` always prints JSON.
    #[arg(long)]
    json: bool,
}

/// Dead letters per page, the API's maximum.
const PAGE: usize = 1000;

#[derive(Deserialize)]
struct Page {
    dead_letters: Vec<Value>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Count {
    dead_letters: u64,
}

pub(super) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List { of } => list(&of).await,
        Command::Replay { of } => {
            let answer = of.client()?.post(&format!("{}/replay", of.path()), None).await?;
            of.print(answer, |n, sink| {
                format!("{n} dead letters are being delivered to {sink} again; `linkseal events dead-letters list --sink {sink}` shows those left")
            })
        }
        Command::Drop { of } => {
            let answer = of.client()?.delete_for(&of.path()).await?;
            of.print(answer, |n, sink| format!("{n} dead letters of {sink} were deleted"))
        }
    }
}

async fn list(of: &Of) -> Result<(), Failure> {
    let client = of.client()?;
    let mut cursor = Cursor::default();
    loop {
        let path = format!("{}?limit={PAGE}{}", of.path(), cursor.parameter());
        let page: Page = read(&client.get(&path).await?)?;
        for letter in &page.dead_letters {
            output::json(letter)?;
        }
        if !cursor.advance(page.next) {
            return Ok(());
        }
    }
}

impl Of {
    fn client(&self) -> Result<AdminClient, Failure> {
        AdminClient::new(&self.admin)
    }

    fn path(&self) -> String {
        format!("/v1/events/sinks/{}/dead-letters", query_value(&self.sink))
    }

    fn print(&self, answer: Value, text: impl FnOnce(u64, &str) -> String) -> Result<(), Failure> {
        if self.json {
            return output::json(&answer);
        }
        let count: Count = read(&answer)?;
        output::line(&text(count.dead_letters, &self.sink))
    }
}
