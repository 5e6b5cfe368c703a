//! `linkseal domain`: the domains of a running edge, through its admin API.

mod answers;
mod list;
mod survey;
mod verify;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use linkseal_config::{ConfigDuration, argument};
use linkseal_domain::DomainName;
use linkseal_domain::ssl::{Reason, State};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::answers::Domain;
pub(super) use self::answers::Freeze;
use super::admin_client::{AdminClient, Group, query_value, read};
use super::{Failure, output};

pub(super) type Args = Group<Command>;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Register a domain. A retired one is restored.
    Add {
        /// Its name.
        name: DomainName,
        /// The tenant whose links the domain serves. Default: the domain's own name.
        #[arg(long)]
        tenant: Option<String>,
        /// The domain in the sender's address, whose SPF, DKIM and DMARC are checked too.
        #[arg(long)]
        sending_domain: Option<DomainName>,
    },
    /// List domains, sorted by name.
    List {
        /// Only domains in this state.
        #[arg(long, value_parser = PossibleValuesParser::new(State::ALL.iter().map(|s| s.as_str())))]
        state: Option<String>,
        /// Only domains with this reason.
        #[arg(long, value_parser = PossibleValuesParser::new(Reason::ALL.iter().map(|r| r.as_str())))]
        reason: Option<String>,
        /// Only domains of this tenant.
        #[arg(long)]
        tenant: Option<String>,
        /// Only names that start with this.
        #[arg(long)]
        prefix: Option<String>,
    },
    /// Show one domain.
    Show {
        /// Its name.
        name: DomainName,
    },
    /// Check a domain's DNS now, and order its certificate if DNS is correct.
    ///
    /// Exits with 2 if a record has to be changed first, and names it; with --wait also if the certificate
    /// is not issued in time, or no order will be made because orders are frozen or the domain is paused:
    /// the printed state, reason and last error say why. Records that HTTPS does not need, such as SPF, are
    /// reported and do not count.
    Verify {
        /// Its name.
        #[arg(required_unless_present = "all")]
        name: Option<DomainName>,
        /// Check every domain, for instance before a cut-over. Exits with 2 if any is not ready for HTTPS.
        #[arg(long, conflicts_with = "name", requires = "dry_run")]
        all: bool,
        /// Only check DNS: nothing is changed or ordered.
        #[arg(long, conflicts_with = "wait")]
        dry_run: bool,
        /// Wait until DNS is correct and the certificate is issued.
        #[arg(long)]
        wait: bool,
        /// How long to wait at most.
        #[arg(long, default_value = "10m", requires = "wait", value_parser = argument::<ConfigDuration>)]
        timeout: ConfigDuration,
    },
    /// Order no more certificates for a domain until it is resumed. An existing one is still served.
    Pause {
        /// Its name.
        name: DomainName,
    },
    /// End a pause.
    Resume {
        /// Its name.
        name: DomainName,
    },
    /// Order a new certificate now, although the present one is still valid.
    Reissue {
        /// Its name.
        name: DomainName,
    },
    /// Show a domain's history, newest first.
    Timeline {
        /// Its name.
        name: DomainName,
    },
    /// Create a link to the domain's page, for its owner. It works without a token.
    Share {
        /// Its name.
        name: DomainName,
    },
    /// Retire a domain: no more orders; it is served until its certificate expires.
    Remove {
        /// Its name.
        name: String,
        /// Delete it and its certificate now.
        #[arg(long)]
        purge: bool,
        /// Revoke its certificate first; if that fails, nothing is deleted.
        #[arg(long, requires = "purge")]
        revoke: bool,
    },
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let client = AdminClient::new(&args.admin)?;
    match args.command {
        Command::Add {
            name,
            tenant,
            sending_domain,
        } => {
            // A key that is not in the body keeps its value.
            let given = [
                ("name", Some(name.to_string())),
                ("tenant", tenant),
                ("sending_domain", sending_domain.map(|d| d.to_string())),
            ];
            let body: Value = given
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), Value::from(value?))))
                .collect();
            show(client.post("/v1/domains", Some(&body)).await?, args.json)
        }
        Command::List {
            state,
            reason,
            tenant,
            prefix,
        } => {
            let filters = [("state", state), ("reason", reason), ("tenant", tenant), ("q", prefix)];
            list::list(&client, &filters, args.json, output::text).await
        }
        Command::Show { name } => show(client.get(&format!("/v1/domains/{name}")).await?, args.json),
        Command::Verify { name: None, .. } => survey::survey(&client, args.json, output::text).await,
        Command::Verify {
            name: Some(name),
            dry_run: true,
            ..
        } => verify::dry_run(&client, &name, args.json).await,
        Command::Verify {
            name: Some(name),
            wait,
            timeout,
            ..
        } => {
            let wait = wait.then(|| Instant::now() + timeout.get());
            verify::verify(&client, &name, wait, args.json).await
        }
        Command::Pause { name } => show(set_paused(&client, &name, true).await?, args.json),
        Command::Resume { name } => show(set_paused(&client, &name, false).await?, args.json),
        Command::Reissue { name } => {
            client.post(&format!("/v1/domains/{name}/reissue"), None).await?;
            show(client.get(&format!("/v1/domains/{name}")).await?, args.json)
        }
        Command::Timeline { name } => timeline(client.get(&format!("/v1/domains/{name}/timeline")).await?, args.json),
        Command::Share { name } => {
            let link = client.post(&format!("/v1/domains/{name}/share"), None).await?;
            match (args.json, link.get("url").and_then(Value::as_str)) {
                (false, Some(url)) => output::line(url),
                _ => output::json(&link),
            }
        }
        Command::Remove { name, purge, revoke } => {
            // A damaged record, whose name is not a valid one, can be purged as well.
            if !purge || revoke {
                DomainName::parse(&name).map_err(|e| Failure::Usage(e.to_string()))?;
            }
            let (query, what) = match (purge, revoke) {
                (true, true) => ("?purge=true&revoke=true", "certificate revoked, domain deleted"),
                (true, false) => ("?purge=true", "deleted"),
                (false, _) => ("", "retired; served until its certificate expires"),
            };
            let path = query_value(&name);
            client.delete(&format!("/v1/domains/{path}{query}")).await?;
            match args.json {
                true => output::json(&json!({"name": name, "purged": purge, "revoked": revoke})),
                false => output::line(&format!("{name}: {what}")),
            }
        }
    }
}

async fn set_paused(client: &AdminClient, name: &DomainName, paused: bool) -> Result<Value, Failure> {
    let body = json!({ "paused": paused });
    client
        .call(http::Method::PATCH, &format!("/v1/domains/{name}"), Some(&body))
        .await
}

fn timeline(answer: Value, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(&answer);
    }
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let entries = answer
        .get("entries")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let row = |entry: &Value| ["at", "event", "reason", "detail"].map(|key| text(entry, key));
    let rows: Vec<_> = entries.iter().map(row).collect();
    output::text(&output::table(Some(["TIME", "EVENT", "REASON", "DETAIL"]), &rows))
}

fn show(answer: Value, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(&answer);
    }
    let domain: Domain = read(&answer)?;
    let yes_no = |yes| if yes { "yes" } else { "no" }.to_owned();
    let mut rows = vec![
        ["name:", &domain.shown()].map(str::to_owned),
        ["tenant:", &domain.tenant].map(str::to_owned),
    ];
    rows.push(["HTTPS ready:".to_owned(), yes_no(domain.https_ready)]);
    if domain.paused {
        rows.push(["paused:".to_owned(), yes_no(true)]);
    }
    if let Some(since) = &domain.retired {
        rows.push(["retired:".to_owned(), since.clone()]);
    }
    rows.extend(domain.ssl.rows());
    output::text(&output::table(None, &rows))
}

#[cfg(test)]
mod tests;
