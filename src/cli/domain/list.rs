//! `linkseal domain list`.

use serde_json::Value;

use super::answers::{Domain, Page, read};
use crate::cli::admin_client::{AdminClient, query_value};
use crate::cli::{Failure, output};

/// Domains on a page: the most the API gives.
const PAGE: usize = 1000;

/// Prints page by page: there may be a million.
pub(super) async fn list(
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
    let (shown, reason) = (domain.shown(), domain.reason());
    let ssl = domain.ssl;
    Ok([
        shown,
        ssl.state,
        reason,
        or_dash(ssl.not_after),
        or_dash(ssl.next_attempt),
    ])
}
