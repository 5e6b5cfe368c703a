//! `linkseal domain verify NAME`: checks DNS, and with `--wait` waits for the certificate.

use std::time::Duration;

use linkseal_domain::DomainName;
use linkseal_domain::ssl::State;
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::answers::{Domain, Report, describe};
use crate::cli::admin_client::{AdminClient, read};
use crate::cli::{Failure, output};

/// Interval of DNS checks while waiting: changes take minutes to propagate.
const VERIFY_EVERY: Duration = Duration::from_secs(10);
/// Interval at which an order's state is polled: issuance takes seconds.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Time for the last read of the state, after the wait.
const LAST_READ: Duration = Duration::from_secs(5);

/// Checks, and orders if DNS is correct. With `until`, waits until then for the certificate.
pub(super) async fn verify(
    client: &AdminClient,
    name: &DomainName,
    until: Option<Instant>,
    json: bool,
) -> Result<(), Failure> {
    let mut reported = String::new();
    let mut last: Option<Value> = None;
    loop {
        let path = format!("/v1/domains/{name}/verify");
        let check = client.post(&path, None);
        // The first check may take the time that DNS needs; a later one ends with the wait.
        let answer = match (last.take(), until) {
            (Some(before), Some(until)) => timeout_at(until, check).await.unwrap_or(Ok(before))?,
            _ => check.await?,
        };
        let report: Report = read(&answer)?;
        let right = report.https;
        let is_done = |report: &Report| report.https && (until.is_none() || report.ssl.state == State::Issued.as_str());
        let done = is_done(&report);
        // During a freeze, which may last for days, and for a paused or retired domain nothing is ordered.
        let goes_on = !done
            && report.freeze.is_none()
            && !(right && report.ssl.is_idle())
            && until.is_some_and(|until| Instant::now() < until);
        if !goes_on {
            let answer = match until {
                Some(_) if !done => with_present_state(client, name, answer).await,
                _ => answer,
            };
            let report: Report = read(&answer)?;
            match json {
                true => output::json(&answer)?,
                false => output::text(&text_of(name, &report))?,
            }
            return if is_done(&report) { Ok(()) } else { Err(Failure::NotYet) };
        }
        // While waiting, each change is reported once on stderr; stdout gets the result.
        let now = text_of(name, &report);
        if now != reported {
            eprint!("{now}");
            reported = now;
        }
        if right {
            await_order(client, name, until).await?;
        } else {
            pause(VERIFY_EVERY, until).await;
        }
        last = Some(answer);
    }
}

/// The answer with the domain's present state: when the time is up, the last check may be seconds old.
async fn with_present_state(client: &AdminClient, name: &DomainName, mut answer: Value) -> Value {
    let path = format!("/v1/domains/{name}");
    let present = timeout(LAST_READ, client.get(&path)).await;
    if let Ok(Ok(mut domain)) = present
        && let (Some(before), Some(now)) = (answer.get_mut("ssl"), domain.get_mut("ssl"))
    {
        *before = now.take();
    }
    answer
}

/// Waits for `time`, but not beyond `until`.
async fn pause(time: Duration, until: Option<Instant>) {
    let end = Instant::now() + time;
    sleep_until(until.map_or(end, |until| until.min(end))).await;
}

/// The report for people, and the freeze if orders are frozen.
fn text_of(name: &DomainName, report: &Report) -> String {
    let mut out = describe(name, report);
    if let Some(freeze) = &report.freeze {
        out.push_str(&format!("{}\n", freeze.sentence()));
    }
    out
}

/// Waits until the domain has its certificate, the next DNS check is due, or the time is up.
async fn await_order(client: &AdminClient, name: &DomainName, until: Option<Instant>) -> Result<(), Failure> {
    let again = Instant::now() + VERIFY_EVERY;
    loop {
        pause(POLL_EVERY, until).await;
        let domain: Domain = read(&client.get(&format!("/v1/domains/{name}")).await?)?;
        let now = Instant::now();
        if domain.ssl.state == State::Issued.as_str() || now >= again || until.is_some_and(|until| now >= until) {
            return Ok(());
        }
    }
}

/// Only checks: nothing is changed or ordered.
pub(super) async fn dry_run(client: &AdminClient, name: &DomainName, json: bool) -> Result<(), Failure> {
    let answer = client.get(&format!("/v1/domains/{name}/dns")).await?;
    let report: Report = read(&answer)?;
    match json {
        true => output::json(&answer)?,
        false => output::text(&describe(name, &report))?,
    }
    if report.https { Ok(()) } else { Err(Failure::NotYet) }
}
