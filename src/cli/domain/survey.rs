//! `linkseal domain verify --all --dry-run`: checks the DNS of every domain, for instance before a cut-over.
//! Nothing is changed or ordered. The texts are those of the API and the pages.

use futures_util::stream::{self, StreamExt};
use linkseal_domain::DomainName;
use serde_json::{Value, json};

use super::answers::{Domain, Page, Report, describe};
use crate::cli::Failure;
use crate::cli::admin_client::{AdminClient, read};
use crate::cli::paging::Cursor;

/// Concurrent checks: a quarter of the edge's own limit.
const CONCURRENT: usize = 16;
/// Domains on a page.
const PAGE: usize = 100;

/// The number of domains by result.
#[derive(Default)]
struct Counts {
    right: usize,
    /// HTTPS works; other records are not correct yet.
    https_only: usize,
    wrong: usize,
    /// Not checked because of an error.
    failed: usize,
}

/// The check of one domain.
struct Checked {
    name: DomainName,
    answer: Result<(Value, Report), Failure>,
}

/// Checks all domains, page by page, and prints each result at once. [`Failure::NotYet`] if any is not ready for
/// HTTPS.
pub(super) async fn survey(
    client: &AdminClient,
    json: bool,
    mut print: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut counts = Counts::default();
    let mut cursor = Cursor::default();
    if json {
        print("{\"domains\":[")?;
    }
    loop {
        let path = format!("/v1/domains?limit={PAGE}{}", cursor.parameter());
        let page: Page = read(&client.get(&path).await?)?;
        let names = page.domains.iter().map(name).collect::<Result<Vec<_>, _>>()?;
        let mut checks = stream::iter(names).map(|name| check(client, name)).buffered(CONCURRENT);
        while let Some(checked) = checks.next().await {
            let first = counts.all() == 0;
            counts.add(&checked);
            match json {
                true => print(&format!("{}{}", if first { "" } else { "," }, checked.json()))?,
                false => print(&checked.text())?,
            }
        }
        if !cursor.advance(page.next) {
            break;
        }
    }
    match json {
        true => print(&format!("],\"counts\":{}}}\n", counts.json()))?,
        false => print(&counts.text())?,
    }
    // Records that HTTPS does not need were printed and do not count.
    if counts.right + counts.https_only == counts.all() {
        Ok(())
    } else {
        Err(Failure::NotYet)
    }
}

fn name(domain: &Value) -> Result<DomainName, Failure> {
    let domain: Domain = read(domain)?;
    DomainName::parse(&domain.name)
        .map_err(|e| Failure::Failed(format!("the admin API lists the domain `{}`: {e}", domain.name)))
}

async fn check(client: &AdminClient, name: DomainName) -> Checked {
    let answer = client.get(&format!("/v1/domains/{name}/dns")).await;
    let answer = answer.and_then(|answer| read(&answer).map(|report| (answer, report)));
    Checked { name, answer }
}

impl Checked {
    /// Empty for a correct domain, otherwise the records to change.
    fn text(&self) -> String {
        match &self.answer {
            Ok((_, report)) if report.is_right() => String::new(),
            Ok((_, report)) => format!("{}\n", describe(&self.name, report)),
            Err(error) => format!("{}: could not be checked: {error}\n\n", self.name),
        }
    }

    /// The API's answer with the name, or the error.
    fn json(&self) -> Value {
        match &self.answer {
            Ok((answer, _)) => {
                let mut named = json!({"name": self.name});
                if let (Some(named), Some(answer)) = (named.as_object_mut(), answer.as_object()) {
                    named.extend(answer.clone());
                }
                named
            }
            Err(error) => json!({"name": self.name, "error": error.to_string()}),
        }
    }
}

impl Counts {
    fn add(&mut self, checked: &Checked) {
        let place = match &checked.answer {
            Ok((_, report)) if report.is_right() => &mut self.right,
            Ok((_, report)) if report.https => &mut self.https_only,
            Ok(_) => &mut self.wrong,
            Err(_) => &mut self.failed,
        };
        *place += 1;
    }

    fn all(&self) -> usize {
        self.right + self.https_only + self.wrong + self.failed
    }

    fn text(&self) -> String {
        let Self {
            right,
            https_only,
            wrong,
            failed,
        } = self;
        format!(
            "{} domains: {right} right, {https_only} right for HTTPS but not for all records, {wrong} wrong, {failed} not checked\n",
            self.all()
        )
    }

    fn json(&self) -> Value {
        json!({"right": self.right, "https_only": self.https_only, "wrong": self.wrong, "failed": self.failed})
    }
}
