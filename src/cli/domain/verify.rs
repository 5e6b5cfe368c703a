//! `linkseal domain verify NAME`: checks DNS, and with `--wait` waits for the certificate.

use std::time::Duration;

use linkseal_domain::DomainName;
use linkseal_domain::ssl::State;
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::answers::{Domain, Report, describe, read};
use crate::cli::admin_client::AdminClient;
use crate::cli::{Failure, output};

/// Between two looks at DNS while waiting: changes take minutes to spread.
const VERIFY_EVERY: Duration = Duration::from_secs(10);
/// Between two looks at an order: issuance takes seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// `until`: how long to wait for it. `None`: not at all.
pub(super) async fn verify(
    client: &AdminClient,
    name: &DomainName,
    until: Option<Instant>,
    json: bool,
) -> Result<(), Failure> {
    let mut told = String::new();
    let mut last: Option<Value> = None;
    loop {
        let path = format!("/v1/domains/{name}/verify");
        let look = client.post(&path, None);
        // The first look has the time DNS takes; a later one may not outlast what is left.
        let answer = match (last.take(), until) {
            (Some(before), Some(until)) => timeout_at(until, look).await.unwrap_or(Ok(before))?,
            _ => look.await?,
        };
        let report: Report = read(&answer)?;
        let right = report.https;
        let done = right && (until.is_none() || report.ssl.state == State::Issued.as_str());
        // No order is made during a freeze, which may last for days, nor for a domain that is set aside.
        let goes_on = !done
            && report.freeze.is_none()
            && !(right && report.ssl.is_idle())
            && until.is_some_and(|until| Instant::now() < until);
        if !goes_on {
            match json {
                true => output::json(&answer)?,
                false => output::text(&told_of(name, &report))?,
            }
            return if done { Ok(()) } else { Err(Failure::NotYet) };
        }
        // While waiting, each change is reported once on stderr; stdout gets the result.
        let now = told_of(name, &report);
        if now != told {
            eprint!("{now}");
            told = now;
        }
        if right {
            await_order(client, name, until).await?;
        } else {
            pause(VERIFY_EVERY, until).await;
        }
        last = Some(answer);
    }
}

/// Waits, and no longer than there is time.
async fn pause(time: Duration, until: Option<Instant>) {
    let end = Instant::now() + time;
    sleep_until(until.map_or(end, |until| until.min(end))).await;
}

/// What a person needs, and whether an order can follow at all.
fn told_of(name: &DomainName, report: &Report) -> String {
    let mut out = describe(name, report);
    if let Some(freeze) = &report.freeze {
        out.push_str(&format!("{}\n", freeze.sentence()));
    }
    out
}

/// Waits until the domain is issued, its order has ended otherwise, or the time is up.
async fn await_order(client: &AdminClient, name: &DomainName, until: Option<Instant>) -> Result<(), Failure> {
    let again = Instant::now() + VERIFY_EVERY;
    loop {
        pause(LOOK_EVERY, until).await;
        let domain: Domain = read(&client.get(&format!("/v1/domains/{name}")).await?)?;
        let now = Instant::now();
        if domain.ssl.state == State::Issued.as_str() || now >= again || until.is_some_and(|until| now >= until) {
            return Ok(());
        }
    }
}

/// Looks only: nothing is changed, nothing is ordered.
pub(super) async fn look(client: &AdminClient, name: &DomainName, json: bool) -> Result<(), Failure> {
    let answer = client.get(&format!("/v1/domains/{name}/dns")).await?;
    let report: Report = read(&answer)?;
    match json {
        true => output::json(&answer)?,
        false => output::text(&describe(name, &report))?,
    }
    if report.https { Ok(()) } else { Err(Failure::NotYet) }
}
