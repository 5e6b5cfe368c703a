//! `linkseal domain`: the domains of a running edge, by its admin API.

use std::time::Duration;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::admin_client::{AdminClient, AdminOptions, query_value};
use super::{Failure, output};
use crate::config::Span;
use crate::domain::DomainName;
use crate::domain::ssl::{Reason, State};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    admin: AdminOptions,
    /// Print the API's JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register a domain. A retired one comes back.
    Add {
        /// Its name.
        name: DomainName,
        /// Whose links are served there. Without: the domain's own name.
        #[arg(long)]
        tenant: Option<String>,
        /// The domain in the sender's address, whose SPF, DKIM and DMARC are looked at too.
        #[arg(long)]
        sending_domain: Option<DomainName>,
    },
    /// List domains, sorted by name.
    List {
        /// Only those in this state.
        #[arg(long, value_parser = PossibleValuesParser::new(State::ALL.iter().map(|s| s.as_str())))]
        state: Option<String>,
        /// Only those for this reason.
        #[arg(long, value_parser = PossibleValuesParser::new(Reason::ALL.iter().map(|r| r.as_str())))]
        reason: Option<String>,
        /// Only this tenant's.
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
    /// Check a domain's DNS now, and have its certificate issued when it is right. Exits with 2
    /// when it is not right yet, and tells which record to change.
    Verify {
        /// Its name.
        name: DomainName,
        /// Wait until DNS is right and the certificate is there.
        #[arg(long)]
        wait: bool,
        /// How long to wait.
        #[arg(long, default_value = "10m", requires = "wait")]
        timeout: Span,
    },
    /// Retire a domain: no more orders; it is served while its certificate lives.
    Remove {
        /// Its name.
        name: DomainName,
        /// Forget it and its certificate now.
        #[arg(long)]
        purge: bool,
        /// Revoke its certificate first; where that fails, nothing is forgotten.
        #[arg(long, requires = "purge")]
        revoke: bool,
    },
}

// What the commands read of the API's answers; each is printed whole with --json.

#[derive(Deserialize)]
struct Domain {
    name: String,
    tenant: String,
    https_ready: bool,
    paused: bool,
    ssl: Ssl,
}

#[derive(Deserialize)]
struct Ssl {
    state: String,
    reason: String,
    message: Option<Sentence>,
    not_after: Option<String>,
    issuer: Option<String>,
    next_attempt: Option<String>,
    last_error: Option<LastError>,
}

#[derive(Deserialize)]
struct Sentence {
    en: String,
}

#[derive(Deserialize)]
struct LastError {
    #[serde(rename = "type")]
    kind: String,
    detail: String,
}

#[derive(Deserialize)]
struct Page {
    domains: Vec<Value>,
    next: Option<String>,
    counts: Value,
}

#[derive(Deserialize)]
struct Report {
    https: bool,
    verified: bool,
    records: Vec<Record>,
    /// `None`: it was not tried, or the server is an older one.
    preflight: Option<Preflight>,
    ssl: Ssl,
}

/// Whether a CA's challenge gets there.
#[derive(Deserialize)]
struct Preflight {
    arrives: bool,
    through: Option<String>,
    message: Sentence,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "type")]
    kind: String,
    host: String,
    expected: Vec<String>,
    found: Vec<String>,
    verdict: String,
    hint: Option<Sentence>,
}

/// The verdict on a record that need not be changed.
const RIGHT: &str = "ok";
/// Domains on a page: the most the API gives.
const PAGE: usize = 1000;
/// Between two looks at DNS while waiting: changes take minutes to spread.
const VERIFY_EVERY: Duration = Duration::from_secs(10);
/// Between two looks at an order: issuance takes seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let client = AdminClient::new(&args.admin)?;
    match args.command {
        Command::Add {
            name,
            tenant,
            sending_domain,
        } => {
            // What is not given stays as it is: keys without a value are left out.
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
            list(&client, &filters, args.json, output::text).await
        }
        Command::Show { name } => show(client.get(&format!("/v1/domains/{name}")).await?, args.json),
        Command::Verify { name, wait, timeout } => {
            let wait = wait.then(|| Instant::now() + timeout.get());
            verify(&client, &name, wait, args.json).await
        }
        Command::Remove { name, purge, revoke } => {
            let (query, what) = match (purge, revoke) {
                (true, true) => ("?purge=true&revoke=true", "revoked and forgotten"),
                (true, false) => ("?purge=true", "forgotten"),
                (false, _) => ("", "retired; served while its certificate lives"),
            };
            client.delete(&format!("/v1/domains/{name}{query}")).await?;
            match args.json {
                true => output::json(&json!({"name": name, "purged": purge, "revoked": revoke})),
                false => output::line(&format!("{name}: {what}")),
            }
        }
    }
}

/// Reads the part of an answer that a command needs.
fn read<T: for<'de> Deserialize<'de>>(answer: &Value) -> Result<T, Failure> {
    T::deserialize(answer).map_err(|e| Failure::Failed(format!("the admin API gave an unexpected answer: {e}")))
}

fn show(answer: Value, json: bool) -> Result<(), Failure> {
    if json {
        return output::json(&answer);
    }
    let domain: Domain = read(&answer)?;
    let yes_no = |yes| if yes { "yes" } else { "no" }.to_owned();
    let mut rows = vec![
        ["name:", &domain.name].map(str::to_owned),
        ["tenant:", &domain.tenant].map(str::to_owned),
    ];
    rows.push(["HTTPS ready:".to_owned(), yes_no(domain.https_ready)]);
    if domain.paused {
        rows.push(["paused:".to_owned(), yes_no(true)]);
    }
    rows.extend(domain.ssl.rows());
    output::text(&output::table(None, &rows))
}

impl Ssl {
    fn word(&self) -> String {
        format!("{} ({})", self.state, self.reason)
    }

    fn rows(&self) -> Vec<[String; 2]> {
        let error = self.last_error.as_ref().map(|e| format!("{} ({})", e.detail, e.kind));
        let all = [
            ("SSL:", Some(self.word())),
            ("", self.message.as_ref().map(|m| m.en.clone())),
            ("issuer:", self.issuer.clone()),
            ("valid until:", self.not_after.clone()),
            ("next attempt:", self.next_attempt.clone()),
            ("last error:", error),
        ];
        all.into_iter()
            .filter_map(|(name, value)| value.map(|v| [name.to_owned(), v]))
            .collect()
    }
}

/// Prints page by page: there may be a million.
async fn list(
    client: &AdminClient,
    filters: &[(&str, Option<String>)],
    json: bool,
    mut print: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut path = format!("/v1/domains?limit={PAGE}");
    for (name, value) in filters {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", query_value(value)));
        }
    }
    let mut cursor: Option<String> = None;
    let mut first = true;
    loop {
        let at = cursor
            .as_deref()
            .map(|c| format!("&cursor={}", query_value(c)))
            .unwrap_or_default();
        let page: Page = read(&client.get(&format!("{path}{at}")).await?)?;
        if json {
            // One document, as if the API had a page for all.
            let mut part = if first {
                "{\"domains\":[".to_owned()
            } else {
                String::new()
            };
            for (i, domain) in page.domains.iter().enumerate() {
                part.push_str(if first && i == 0 { "" } else { "," });
                part.push_str(&domain.to_string());
            }
            if page.next.is_none() {
                part.push_str(&format!("],\"next\":null,\"counts\":{}}}\n", page.counts));
            }
            print(&part)?;
        } else {
            let rows = page.domains.iter().map(row).collect::<Result<Vec<_>, _>>()?;
            let heading = first.then_some(["NAME", "STATE", "REASON", "VALID UNTIL", "NEXT ATTEMPT"]);
            print(&output::table(heading, &rows))?;
        }
        // A page without domains cannot be followed by one with: never loop on it.
        if page.next.is_none() || page.next == cursor {
            return Ok(());
        }
        first = false;
        cursor = page.next;
    }
}

fn row(domain: &Value) -> Result<[String; 5], Failure> {
    let domain: Domain = read(domain)?;
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let ssl = domain.ssl;
    Ok([
        domain.name,
        ssl.state,
        ssl.reason,
        or_dash(ssl.not_after),
        or_dash(ssl.next_attempt),
    ])
}

/// `until`: how long to wait for it. `None`: not at all.
async fn verify(client: &AdminClient, name: &DomainName, until: Option<Instant>, json: bool) -> Result<(), Failure> {
    let mut told = String::new();
    loop {
        let answer = client.post(&format!("/v1/domains/{name}/verify"), None).await?;
        let report: Report = read(&answer)?;
        let right = report.https && report.verified;
        let done = right && (until.is_none() || report.ssl.state == State::Issued.as_str());
        let goes_on = !done && until.is_some_and(|until| Instant::now() < until);
        if !goes_on {
            match json {
                true => output::json(&answer)?,
                false => output::text(&describe(name, &report))?,
            }
            return if done { Ok(()) } else { Err(Failure::NotYet) };
        }
        // While waiting, what changed is told once, and not on stdout: the outcome goes there.
        let now = describe(name, &report);
        if now != told {
            eprint!("{now}");
            told = now;
        }
        if right {
            await_order(client, name, until).await?;
        } else {
            sleep(VERIFY_EVERY).await;
        }
    }
}

/// Waits until the domain is issued, its order has ended otherwise, or the time is up.
async fn await_order(client: &AdminClient, name: &DomainName, until: Option<Instant>) -> Result<(), Failure> {
    let again = Instant::now() + VERIFY_EVERY;
    loop {
        sleep(LOOK_EVERY).await;
        let domain: Domain = read(&client.get(&format!("/v1/domains/{name}")).await?)?;
        let now = Instant::now();
        if domain.ssl.state == State::Issued.as_str() || now >= again || until.is_some_and(|until| now >= until) {
            return Ok(());
        }
    }
}

/// What a person needs: the state, and the records to change.
fn describe(name: &DomainName, report: &Report) -> String {
    let mut out = format!("{name}: {}\n", report.ssl.word());
    if let Some(message) = &report.ssl.message {
        out.push_str(&format!("{}\n", message.en));
    }
    if let Some(error) = &report.ssl.last_error {
        out.push_str(&format!("last error: {} ({})\n", error.detail, error.kind));
    }
    if let Some(tried) = report.preflight.as_ref().filter(|p| !p.arrives || p.through.is_some()) {
        out.push_str(&format!("{}\n", tried.message.en));
    }
    if report.https && report.verified {
        return out;
    }
    let list = |values: &[String]| {
        if values.is_empty() {
            "nothing".to_owned()
        } else {
            values.join(", ")
        }
    };
    let wrong = || report.records.iter().filter(|r| r.verdict != RIGHT);
    let rows: Vec<_> = wrong()
        .map(|r| {
            [
                r.kind.clone(),
                r.host.clone(),
                list(&r.expected),
                list(&r.found),
                r.verdict.clone(),
            ]
        })
        .collect();
    out.push_str(&output::table(
        Some(["TYPE", "HOST", "EXPECTED", "FOUND", "VERDICT"]),
        &rows,
    ));
    for record in wrong() {
        if let Some(hint) = &record.hint {
            out.push_str(&format!("{} {}: {}\n", record.kind, record.host, hint.en));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_the_record_to_change() {
        let report: Report = read(&json!({
            "https": false, "verified": false, "checked": null,
            "records": [{"type": "CNAME", "host": "links.customer.example", "expected": ["track.platform.example"],
                         "found": [], "verdict": "missing", "hint": {"en": "Add it.", "de": "Anlegen."}}],
            "ssl": {"state": "unknown", "reason": "dns_missing", "message": {"en": "No record.", "de": "Kein Eintrag."}, "since": "x",
                    "not_before": null, "not_after": null, "issuer": null, "serial": null, "sans": [], "renew_at": null,
                    "attempts": 0, "next_attempt": null, "eta": null, "last_error": null},
        }))
        .unwrap();
        let text = describe(&"links.customer.example".parse().unwrap(), &report);
        assert_eq!(
            text,
            "links.customer.example: unknown (dns_missing)\nNo record.\n\
             TYPE   HOST                    EXPECTED                FOUND    VERDICT\n\
             CNAME  links.customer.example  track.platform.example  nothing  missing\n\
             CNAME links.customer.example: Add it.\n"
        );
    }

    /// A stand-in for the admin API: three domains on two pages, one of them not right yet.
    async fn stand_in(tasks: &crate::shutdown::Tasks) -> AdminClient {
        use axum::extract::{Path, RawQuery};
        use axum::http::StatusCode;
        use axum::routing::{get, post};
        use axum::{Json, Router};
        let ssl = |state: &str| json!({"state": state, "reason": "ok", "message": {"en": "x", "de": "y"}, "not_after": null, "issuer": null, "next_attempt": null, "last_error": null});
        let domain = move |name: &str| json!({"name": name, "tenant": "t", "https_ready": true, "paused": false, "ssl": ssl("issued")});
        let list = move |RawQuery(query): RawQuery| async move {
            let second = query.unwrap_or_default().contains("cursor=b%20c");
            let (names, next) = if second {
                (vec!["c.example"], None)
            } else {
                (vec!["a.example", "b.example"], Some("b c"))
            };
            let domains: Vec<_> = names.into_iter().map(domain).collect();
            Json(json!({"domains": domains, "next": next, "counts": {"issued": 3, "pending": 0, "unknown": 0}}))
        };
        let verify = move |Path(name): Path<String>| async move {
            let right = name == "a.example";
            (
                StatusCode::ACCEPTED,
                Json(json!({"https": right, "verified": right, "records": [], "ssl": ssl("pending")})),
            )
        };
        let missing = || async {
            (
                StatusCode::NOT_FOUND,
                Json(json!({"detail": "there is no such domain", "code": "not_found"})),
            )
        };
        let app = Router::new()
            .route("/v1/domains", get(list))
            .route("/v1/domains/{name}/verify", post(verify))
            .route(
                "/v1/domains/{name}",
                get(missing).delete(|| async { StatusCode::NO_CONTENT }),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn_until_stop(async move { axum::serve(listener, app).await.unwrap() });
        AdminClient::at(format!("http://{address}"))
    }

    #[tokio::test]
    async fn pages_are_followed_and_refusals_told() {
        let tasks = crate::shutdown::Tasks::new();
        let client = stand_in(&tasks).await;
        let mut lines = Vec::new();
        let tenant = [("tenant", Some("a&b".to_owned()))];
        list(&client, &tenant, true, |text| {
            lines.push(text.to_owned());
            Ok(())
        })
        .await
        .unwrap();
        let whole: Value = serde_json::from_str(&lines.concat()).unwrap();
        let names: Vec<_> = whole["domains"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| d["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["a.example", "b.example", "c.example"]);
        assert_eq!(whole["counts"]["issued"], 3);

        let (right, wrong) = ("a.example".parse().unwrap(), "b.example".parse().unwrap());
        assert!(verify(&client, &right, None, true).await.is_ok());
        assert!(matches!(
            verify(&client, &wrong, None, true).await,
            Err(Failure::NotYet)
        ));
        assert!(client.delete("/v1/domains/a.example").await.is_ok());
        let error = client.get("/v1/domains/x.example").await.unwrap_err();
        assert_eq!(error.to_string(), "linkseal: there is no such domain (not_found)");
        tasks.stop();
    }
}
