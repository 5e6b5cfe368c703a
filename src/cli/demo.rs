//! `linkseal demo`: the whole edge on this machine, with a CA of its own, ready to be tried.

use std::fmt::Write as _;
use std::path::PathBuf;

use http::Uri;
use serde::Serialize;

use super::{Failure, output};
use crate::config::log::Log;
use crate::telemetry::logs;

/// How the demo is to run.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoOptions {
    /// Where it keeps its files. Without: a new directory that goes when the demo ends.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// The port of HTTP; HTTPS is 363 above it, the admin port 1000. A port in use is passed over.
    #[arg(long, default_value_t = 8080)]
    pub port_base: u16,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    options: DemoOptions,
    /// Print where it runs as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Where a demo runs and what can be tried there (contract, section 2).
#[derive(Clone, Debug, Serialize)]
pub struct DemoInfo {
    /// Base URL of HTTP.
    pub http: String,
    /// Base URL of HTTPS.
    pub https: String,
    /// Base URL of the admin API.
    pub admin: String,
    /// PEM file of the demo's CA.
    pub ca_file: PathBuf,
    /// A bearer token of the admin API that may do everything.
    pub token: String,
    /// The domains registered.
    pub domains: Vec<String>,
    /// An open pixel on one of them.
    pub open_url: String,
    /// A click link on one of them.
    pub click_url: String,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    logs::install(&Log::default()).map_err(Failure::failed)?;
    let print = move |info: &DemoInfo| {
        let printed = if args.json { output::json(info) } else { output::text(&info.to_string()) };
        // Nobody reads what was printed: the demo runs all the same.
        if let Err(error) = printed {
            tracing::debug!(%error, "where the demo runs was not printed");
        }
    };
    let demo = Box::pin(crate::app::demo::run(args.options, print));
    demo.await.map_err(|e| Failure::Failed(format!("{e:#}")))
}

impl std::fmt::Display for DemoInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ca = quoted(&self.ca_file.display().to_string());
        writeln!(f, "The edge is running; Ctrl-C stops it.\n")?;
        writeln!(f, "  HTTP    {}\n  HTTPS   {}\n  admin   {}", self.http, self.https, self.admin)?;
        writeln!(f, "  domains {}\n", self.domains.join(", "))?;
        writeln!(f, "An open pixel, under a certificate that is made at this first handshake:\n")?;
        writeln!(f, "  {}\n", curl("-sS -D - -o /dev/null", &ca, &self.open_url))?;
        writeln!(f, "A click, which leads to its signed destination:\n")?;
        writeln!(f, "  {}\n", curl("-sS -D - -o /dev/null", &ca, &self.click_url))?;
        let bearer = quoted(&format!("Authorization: Bearer {}", self.token));
        writeln!(f, "What the edge knows of its domains:\n")?;
        writeln!(f, "  curl -sS -H {bearer} {}", quoted(&format!("{}/v1/domains", self.admin)))
    }
}

/// A curl line that trusts the demo's CA and finds the domain on this machine.
fn curl(options: &str, ca: &str, url: &str) -> String {
    let mut line = format!("curl {options} --cacert {ca}");
    if let Ok(uri) = url.parse::<Uri>()
        && let (Some(host), Some(port)) = (uri.host(), uri.port_u16())
    {
        // Writing to a string cannot fail.
        let _ = write!(line, " --resolve {host}:{port}:127.0.0.1");
    }
    format!("{line} {}", quoted(url))
}

/// A word for a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_can_be_pasted() {
        let info = DemoInfo {
            http: "http://127.0.0.1:8080".into(),
            https: "https://127.0.0.1:8443".into(),
            admin: "http://127.0.0.1:9080".into(),
            ca_file: "/tmp/it's/ca.pem".into(),
            token: "secret".into(),
            domains: vec!["links.customer.localhost".into()],
            open_url: "https://links.customer.localhost:8443/o/abc.gif".into(),
            click_url: "https://links.customer.localhost:8443/c/abc".into(),
        };
        let text = info.to_string();
        assert!(text.contains(
            "\n  curl -sS -D - -o /dev/null --cacert '/tmp/it'\\''s/ca.pem' \
             --resolve links.customer.localhost:8443:127.0.0.1 'https://links.customer.localhost:8443/o/abc.gif'\n"
        ), "{text}");
        assert!(text.contains("  curl -sS -H 'Authorization: Bearer secret' 'http://127.0.0.1:9080/v1/domains'\n"), "{text}");
        let json = serde_json::to_value(&info).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["http", "https", "admin", "ca_file", "token", "domains", "open_url", "click_url"]);
    }
}
