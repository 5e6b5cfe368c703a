//! `linkseal domain list`.

use serde_json::Value;

use super::answers::{Domain, Page};
use crate::cli::admin_client::{AdminClient, read, with_query};
use crate::cli::paging::Cursor;
use crate::cli::{Failure, output};

/// Domains per page, the API's maximum.
const PAGE: usize = 1000;

/// Prints page by page, because there may be a million domains.
pub(super) async fn list(
    client: &AdminClient,
    filters: &[(&str, Option<String>)],
    json: bool,
    mut print: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let filters = filters.iter().map(|(name, value)| (*name, value.as_deref()));
    let path = with_query(&format!("/v1/domains?limit={PAGE}"), filters);
    let mut cursor = Cursor::default();
    let mut first = true;
    loop {
        let page: Page = read(&client.get(&format!("{path}{}", cursor.parameter())).await?)?;
        if json {
            // One document, as if the API had sent a single page.
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
        if !cursor.advance(page.next) {
            return Ok(());
        }
        first = false;
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
