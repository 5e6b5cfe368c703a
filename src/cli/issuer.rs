//! `linkseal issuer`: the orders of a running edge, by its admin API.

use clap::Subcommand;
use linkseal_domain::DomainName;
use serde_json::json;

use super::admin_client::{AdminClient, Group};
use super::{Failure, output};

pub(super) type Args = Group<Command>;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// End what orders wait for: hold-backs that a CA asked for, CAs out of use, times of the next
    /// attempt. Without options: all of it.
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
    let given = [("ca", &ca), ("domain", &domain)];
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (key, value) in given
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_ref()?)))
    {
        query.append_pair(key, value);
    }
    let query = query.finish();
    let sign = if query.is_empty() { "" } else { "?" };
    client.delete(&format!("/v1/issuer/holds{sign}{query}")).await?;
    if args.json {
        return output::json(&json!({"released": true, "ca": ca, "domain": domain}));
    }
    let what = domain.as_deref().or(ca.as_deref()).unwrap_or("all");
    output::line(&format!("{what}: waits no longer; orders go on"))
}
