//! `linkseal issuer`: the orders of a running edge, through its admin API.

use clap::Subcommand;
use linkseal_domain::DomainName;
use serde_json::{Value, json};

use super::admin_client::{AdminClient, Group, read, with_query};
use super::domain::Freeze;
use super::{Failure, output};

pub(super) type Args = Group<Command>;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// End the waits of orders: hold-backs that a CA asked for, CAs out of use, times of the next
    /// attempt. Without options: all of them.
    Release {
        /// Only at this CA: its directory URL or its host name.
        #[arg(long)]
        ca: Option<String>,
        /// Only for this domain.
        #[arg(long)]
        domain: Option<DomainName>,
    },
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let client = AdminClient::new(&args.admin)?;
    let Command::Release { ca, domain } = args.command;
    let released = release(&client, ca, domain.map(|d| d.to_string())).await?;
    match args.json {
        true => output::json(&released.json()),
        false => output::text(&released.text()),
    }
}

/// The waits that were ended.
struct Released {
    ca: Option<String>,
    domain: Option<String>,
    /// The freeze in force, which still stops all orders.
    freeze: Option<Value>,
}

async fn release(client: &AdminClient, ca: Option<String>, domain: Option<String>) -> Result<Released, Failure> {
    let path = with_query(
        "/v1/issuer/holds",
        [("ca", ca.as_deref()), ("domain", domain.as_deref())],
    );
    client.delete(&path).await?;
    // The waits are ended, whether the state can be read or not.
    let state = client.get("/v1/issuer").await.ok();
    let freeze = state.and_then(|mut state| state.get_mut("freeze").map(Value::take));
    let freeze = freeze.filter(|freeze| !freeze.is_null());
    Ok(Released { ca, domain, freeze })
}

impl Released {
    fn json(&self) -> Value {
        json!({"released": true, "ca": self.ca, "domain": self.domain, "freeze": self.freeze})
    }

    fn text(&self) -> String {
        let of = self.domain.as_deref().or(self.ca.as_deref()).unwrap_or("all domains");
        let Some(freeze) = &self.freeze else {
            return format!("{of}: waits ended; orders resume\n");
        };
        let why = read::<Freeze>(freeze).map_or("All orders are frozen.".to_owned(), |freeze| freeze.sentence());
        format!(
            "{of}: waits ended\n{why}\nOrders resume when the freeze ends (`linkseal api DELETE /v1/issuer/freeze`)\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::{delete, get};
    use linkseal_base::shutdown::Tasks;

    use super::*;

    #[tokio::test]
    async fn a_release_during_a_freeze_says_that_orders_stay_frozen() {
        for (freeze, says, not) in [
            (Value::Null, "all domains: waits ended; orders resume\n", "frozen"),
            (
                json!({"since": "2026-11-28T10:00:00Z", "note": "incident 7", "by": "ops"}),
                "All orders have been frozen since 2026-11-28T10:00:00Z by ops: incident 7\n",
                "orders resume",
            ),
        ] {
            let tasks = Tasks::new();
            let state = json!({"freeze": freeze});
            let app = Router::new()
                .route("/v1/issuer/holds", delete(|| async { StatusCode::NO_CONTENT }))
                .route("/v1/issuer", get(move || std::future::ready(axum::Json(state.clone()))));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tasks.spawn_until_stop(async move { axum::serve(listener, app).await.unwrap() });
            let client = AdminClient::at(format!("http://{address}"));
            let released = release(&client, None, None).await.unwrap();
            let text = released.text();
            assert!(text.contains(says) && !text.contains(not), "{text}");
            assert_eq!(released.json()["freeze"], freeze);
            tasks.stop();
        }
    }
}
