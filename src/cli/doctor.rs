//! `linkseal doctor`: checks whether an edge with this configuration can work on this machine.

use std::path::PathBuf;

use linkseal_config::Config;
use serde_json::json;

use super::{Failure, output};
use crate::app::doctor::{Finding, Outcome, Surroundings, examine};

/// Check the configuration and everything it needs: ports, files, DNS, the CA, the clock, the sinks.
///
/// Nothing is changed, ordered or delivered. Run it as the service's user.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "linkseal.toml")]
    config: PathBuf,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let config = Config::load(&args.config)?;
    let findings = examine(&config, &Surroundings::default()).await;
    let is_ok = findings.iter().all(|f| f.outcome != Outcome::Failed);
    if args.json {
        output::json(&json!({"ok": is_ok, "checks": findings}))?;
    } else {
        output::text(&findings.iter().map(line).collect::<String>())?;
    }
    if is_ok { Ok(()) } else { Err(Failure::Printed(1)) }
}

fn line(finding: &Finding) -> String {
    format!(
        "{:7}  {}: {}\n",
        finding.outcome.as_str(),
        finding.check,
        finding.message
    )
}
