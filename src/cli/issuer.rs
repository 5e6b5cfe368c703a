//! `linkseal issuer`: the orders of a running edge, through its admin API.

use clap::Subcommand;
use linkseal_domain::DomainName;
use serde_json::json;

use super::admin_client::{AdminClient, Group, query_value};
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
    let domain = domain.map(|d| d.to_string());
    let mut path = "/v1/issuer/holds".to_owned();
    for (key, value) in [("ca", &ca), ("domain", &domain)] {
        if let Some(value) = value {
            let separator = if path.contains('?') { '&' } else { '?' };
            path.push_str(&format!("{separator}{key}={}", query_value(value)));
        }
    }
    client.delete(&path).await?;
    if args.json {
        return output::json(&json!({"released": true, "ca": ca, "domain": domain}));
    }
    let of = domain.as_deref().or(ca.as_deref()).unwrap_or("all domains");
    output::line(&format!("{of}: waits ended; orders continue"))
}
