//! `linkseal api METHOD PATH`: one call of the admin API, for what has no command of its own.

use clap::builder::PossibleValuesParser;
use http::Method;

use super::admin_client::{AdminClient, AdminOptions};
use super::{Failure, output};

/// Call the admin API: `linkseal api GET /v1/issuer`. /openapi.json of the same port lists all calls.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    admin: AdminOptions,
    /// The method.
    #[arg(value_parser = PossibleValuesParser::new(["GET", "POST", "PUT", "PATCH", "DELETE"]))]
    method: String,
    /// The path with its query, such as /v1/audit?limit=20.
    #[arg(value_parser = path)]
    path: String,
    /// A JSON body.
    #[arg(value_parser = body)]
    body: Option<serde_json::Value>,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let client = AdminClient::new(&args.admin)?;
    let method = Method::from_bytes(args.method.as_bytes()).map_err(Failure::failed)?;
    let answer = client.call(method, &args.path, args.body.as_ref()).await?;
    match answer.is_null() {
        true => Ok(()),
        false => output::json(&answer),
    }
}

fn path(text: &str) -> Result<String, String> {
    match text.starts_with('/') && text.parse::<http::Uri>().is_ok() {
        true => Ok(text.to_owned()),
        false => Err("must be a path that starts with /, such as /v1/issuer".to_owned()),
    }
}

fn body(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|e| format!("must be JSON ({e})"))
}
