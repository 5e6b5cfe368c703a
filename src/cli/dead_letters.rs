//! `linkseal events dead-letters`: what a sink's receiver refuses, by the admin API of a running
//! edge. On a stopped node they are NDJSON files beside the journal, `dead-letters-{sink}.ndjson`.

use clap::Subcommand;
use serde::Deserialize;
use serde_json::Value;

use super::admin_client::{AdminClient, AdminOptions, query_value};
use super::{Failure, output};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print a sink's dead letters, the oldest first: a JSON object a line, with the event and the receiver's answer.
    List {
        #[command(flatten)]
        of: Of,
    },
    /// Give a sink its dead letters again, beside new events. What it takes is removed, what it refuses stays.
    Replay {
        #[command(flatten)]
        of: Of,
    },
    /// Drop a sink's dead letters: they are lost for good.
    Drop {
        #[command(flatten)]
        of: Of,
    },
}

/// Whose dead letters.
#[derive(Debug, clap::Args)]
pub(super) struct Of {
    #[command(flatten)]
    admin: AdminOptions,
    /// The sink, as it is called in the configuration.
    #[arg(long, value_name = "NAME")]
    sink: String,
    /// Print the answer as JSON; lists are JSON with or without.
    #[arg(long)]
    json: bool,
}

/// Dead letters on a page: the most the API gives.
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
            of.tell(answer, |n, sink| {
                format!("{n} dead letters are given to {sink} again; what it refuses stays: linkseal events dead-letters list --sink {sink}")
            })
        }
        Command::Drop { of } => {
            let answer = of.client()?.delete_for(&of.path()).await?;
            of.tell(answer, |n, sink| format!("{n} dead letters of {sink} were dropped."))
        }
    }
}

async fn list(of: &Of) -> Result<(), Failure> {
    let client = of.client()?;
    let mut cursor: Option<String> = None;
    loop {
        let at = cursor
            .as_deref()
            .map(|c| format!("&cursor={}", query_value(c)))
            .unwrap_or_default();
        let page = client.get(&format!("{}?limit={PAGE}{at}", of.path())).await?;
        let page: Page = serde_json::from_value(page).map_err(Failure::failed)?;
        for letter in &page.dead_letters {
            output::json(letter)?;
        }
        // A page without any cannot be followed by one with: never loop on it.
        if page.next.is_none() || page.next == cursor {
            return Ok(());
        }
        cursor = page.next;
    }
}

impl Of {
    fn client(&self) -> Result<AdminClient, Failure> {
        AdminClient::new(&self.admin)
    }

    fn path(&self) -> String {
        format!("/v1/events/sinks/{}/dead-letters", query_value(&self.sink))
    }

    fn tell(&self, answer: Value, say: impl FnOnce(u64, &str) -> String) -> Result<(), Failure> {
        if self.json {
            return output::json(&answer);
        }
        let count: Count = serde_json::from_value(answer).map_err(Failure::failed)?;
        output::line(&say(count.dead_letters, &self.sink))
    }
}
