//! `linkseal domain verify --all --dry-run`: what DNS says of every domain, before a cut-over.
//! Nothing is changed and nothing ordered; what is said is what the API and the page say.

use futures_util::stream::{self, StreamExt};
use linkseal_domain::DomainName;
use serde_json::{Value, json};

use super::answers::{Domain, Page, Report, describe, read};
use crate::cli::Failure;
use crate::cli::admin_client::{AdminClient, query_value};

/// Concurrent checks: a quarter of the edge's own limit.
const CONCURRENT: usize = 16;
/// Domains on a page.
const PAGE: usize = 100;

/// How many domains came to what.
#[derive(Default)]
struct Counts {
    right: usize,
    /// HTTPS works; other records are not right yet.
    https_only: usize,
    wrong: usize,
    /// They could not be checked.
    failed: usize,
}

/// What came of looking at one domain.
struct Looked {
    name: DomainName,
    answer: Result<(Value, Report), Failure>,
}

/// Looks at all domains, page by page, and prints as it goes. [`Failure::NotYet`] when any is not right.
pub(super) async fn survey(
    client: &AdminClient,
    json: bool,
    mut print: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut counts = Counts::default();
    let mut cursor: Option<String> = None;
    if json {
        print("{\"domains\":[")?;
    }
    loop {
        let at = cursor.as_deref().map(|c| format!("&cursor={}", query_value(c)));
        let path = format!("/v1/domains?limit={PAGE}{}", at.unwrap_or_default());
        let page: Page = read(&client.get(&path).await?)?;
        let names = page.domains.iter().map(name).collect::<Result<Vec<_>, _>>()?;
        let mut looks = stream::iter(names).map(|name| look(client, name)).buffered(CONCURRENT);
        while let Some(looked) = looks.next().await {
            let first = counts.all() == 0;
            counts.add(&looked);
            match json {
                true => print(&format!("{}{}", if first { "" } else { "," }, looked.json()))?,
                false => print(&looked.text())?,
            }
        }
        // A page without domains cannot be followed by one with: never loop on it.
        if page.next.is_none() || page.next == cursor {
            break;
        }
        cursor = page.next;
    }
    match json {
        true => print(&format!("],\"counts\":{}}}\n", counts.json()))?,
        false => print(&counts.text())?,
    }
    // Records that are no gate for HTTPS are named above, and make nothing wrong.
    if counts.right + counts.https_only == counts.all() {
        Ok(())
    } else {
        Err(Failure::NotYet)
    }
}

fn name(domain: &Value) -> Result<DomainName, Failure> {
    let domain: Domain = read(domain)?;
    DomainName::parse(&domain.name).map_err(|e| Failure::Failed(format!("the admin API names `{}`: {e}", domain.name)))
}

async fn look(client: &AdminClient, name: DomainName) -> Looked {
    let answer = client.get(&format!("/v1/domains/{name}/dns")).await;
    let answer = answer.and_then(|answer| read(&answer).map(|report| (answer, report)));
    Looked { name, answer }
}

impl Looked {
    /// Nothing of what is right, the records to change of what is not.
    fn text(&self) -> String {
        match &self.answer {
            Ok((_, report)) if report.is_right() => String::new(),
            Ok((_, report)) => format!("{}\n", describe(&self.name, report)),
            Err(error) => format!("{}: could not be checked: {error}\n\n", self.name),
        }
    }

    /// The API's answer with the name, or why there is none.
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
    fn add(&mut self, looked: &Looked) {
        let place = match &looked.answer {
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
