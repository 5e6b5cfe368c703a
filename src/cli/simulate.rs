//! `linkseal simulate`: months of a fleet in a minute, to see what a CA's limits and lifetimes mean
//! for it.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use linkseal_config::acme::Limits;
use linkseal_config::{Config, ConfigDuration, argument};
use serde_json::json;

use super::{Failure, output, whole};
use crate::app::wiring;
use crate::simulate::{self, DAY, MONTH, Move, MoveTo, Onboarding, Outcome, Scenario, Window, span_words, thousands};

/// Most that is replayed: beyond, memory and time run out before anything new is learnt.
const MOST_DOMAINS: u64 = 1_000_000;
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);
/// Certificates with less than that cannot be renewed by looking now and then.
const SHORTEST_LIFE: Duration = Duration::from_secs(3_600);

/// Replay a fleet over months of virtual time by the scheduler's own code, under given limits and
/// lifetimes, and print (and plot) queue, failures and expiries. The CA and the customers are made
/// up; nothing is sent anywhere.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many domains (1 to 1000000).
    #[arg(long, default_value_t = 10_000, value_parser = whole::<u32>(1..=MOST_DOMAINS))]
    domains: u32,
    /// How many months of 30 days to replay (1 to 120).
    #[arg(long, default_value_t = 6, value_parser = whole::<u32>(1..=120))]
    months: u32,
    /// How many days to replay instead (1 to 3660).
    #[arg(long, conflicts_with = "months", value_parser = whole::<u32>(1..=3660))]
    days: Option<u32>,
    /// How long certificates live: 45d, 160h; or, with times counted from the start, 90d,64d@60d,45d@120d.
    #[arg(long, default_value = "90d")]
    lifetime: Lifetimes,
    /// How the domains come: import (all at the start), running (they have been here for long), or
    /// a number per day: 500.
    #[arg(long, default_value = "import", value_parser = onboarding)]
    onboard: Onboarding,
    /// How many names share a registered domain (1 to 10000).
    #[arg(long, default_value_t = 1, value_parser = whole::<u32>(1..=10_000))]
    names_per_registered_domain: u32,
    /// Take acme.limits and acme.max_concurrent_orders from this configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Limits other than the configuration's (or Let's Encrypt's), as in the configuration:
    /// 'orders_per_account = "300/3h", per_registered_domain = "50/7d", failed_per_name = "5/1h"'.
    #[arg(long, value_name = "LIMITS")]
    limits: Option<String>,
    /// Whether the CA has renewal information (ARI), and exempts renewals by it from its limits.
    #[arg(long, default_value = "on", value_parser = ["on", "off"])]
    ari: String,
    /// Orders on their way at once (1 to 10000). Without: as configured, else 16.
    #[arg(long, value_parser = whole::<u32>(1..=10_000))]
    max_concurrent_orders: Option<u32>,
    /// How long an order takes, on average.
    #[arg(long, default_value = "8s", value_parser = argument::<ConfigDuration>)]
    order_time: ConfigDuration,
    /// Share of the domains that the CA can never reach, such as 2% (0% to 100%).
    #[arg(long, default_value = "0%", value_parser = share)]
    failing: f64,
    /// Share of the orders that fail although the domain is right.
    #[arg(long, default_value = "0%", value_parser = share)]
    flaky: f64,
    /// Share of the customers that leave within a month.
    #[arg(long, default_value = "0%", value_parser = share)]
    departing: f64,
    /// When the CA does not answer, as start and length: 10d+6h. May be repeated.
    #[arg(long, value_name = "START+LENGTH", value_parser = window)]
    outage: Vec<Window>,
    /// Limits that the CA enforces, where they are not those that linkseal counts by; written as in --limits.
    #[arg(long, value_name = "LIMITS")]
    ca_limits: Option<String>,
    /// What the CA asks for whenever it refuses or is away, instead of what would do, such as 36500d.
    #[arg(long, value_name = "SPAN", value_parser = argument::<ConfigDuration>)]
    retry_after: Option<ConfigDuration>,
    /// Share of the certificates whose renewal windows the CA moves to the past, as before a mass
    /// revocation, and when: 20%@30d. May be repeated.
    #[arg(long, value_name = "SHARE@TIME", value_parser = share_at)]
    ari_past: Vec<(f64, Duration)>,
    /// The same for windows that the CA moves beyond the certificates' end.
    #[arg(long, value_name = "SHARE@TIME", value_parser = share_at)]
    ari_beyond: Vec<(f64, Duration)>,
    /// The same seed gives the same outcome.
    #[arg(long, default_value_t = 1, value_parser = whole::<u64>(0..=u64::MAX))]
    seed: u64,
    /// Also draw it, as SVG, into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let scenario = scenario(args)?;
    if let Some(file) = &args.svg {
        // Before the work, which may take minutes.
        let opened = OpenOptions::new().append(true).create(true).open(file);
        opened.map_err(|error| no_plot(file, &error))?;
    }
    let begun = Instant::now();
    let outcome = simulate::run(&scenario);
    let took = begun.elapsed();
    if let Some(file) = &args.svg {
        std::fs::write(file, simulate::plot(&scenario, &outcome)).map_err(|error| no_plot(file, &error))?;
    }
    if args.json {
        let mut value = serde_json::to_value(&outcome).map_err(Failure::failed)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("days".into(), json!(scenario.span.as_secs() / DAY.as_secs()));
            object.insert("seed".into(), json!(scenario.seed));
        }
        return output::json(&value);
    }
    output::text(&report(&scenario, &outcome))?;
    eprintln!("replayed in {:.1} s", took.as_secs_f64());
    Ok(())
}

fn no_plot(file: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!(
        "--svg: {} cannot be written ({error}): give a file in a folder that this user may write to",
        file.display()
    ))
}

fn scenario(args: &Args) -> Result<Scenario, Failure> {
    let config = args.config.as_deref().map(Config::load).transpose()?;
    let acme = config.map(|c| c.acme).unwrap_or_default();
    let limits = match &args.limits {
        Some(text) => changed_limits(&acme.limits, text).map_err(|e| Failure::Usage(format!("--limits: {e}")))?,
        None => acme.limits,
    };
    let ca_limits = match &args.ca_limits {
        Some(text) => changed_limits(&limits, text).map_err(|e| Failure::Usage(format!("--ca-limits: {e}")))?,
        None => limits.clone(),
    };
    let slots = args.max_concurrent_orders.unwrap_or(acme.max_concurrent_orders.get());
    if args.order_time.is_zero() {
        return Err(Failure::Usage(
            "--order-time: must be longer than zero, such as 8s".to_owned(),
        ));
    }
    let span = args.days.map_or(MONTH * args.months, |days| DAY * days);
    Ok(Scenario {
        domains: args.domains,
        names_per_registered_domain: args.names_per_registered_domain,
        onboarding: args.onboard,
        span: span.min(LONGEST),
        lifetimes: args.lifetime.0.clone(),
        limits: wiring::limits(&limits),
        ca_limits: wiring::limits(&ca_limits),
        retry_after: args.retry_after.map(ConfigDuration::get),
        ari: args.ari == "on",
        max_concurrent_orders: usize::try_from(slots).unwrap_or(usize::MAX),
        order_time: args.order_time.get(),
        failing: args.failing,
        flaky: args.flaky,
        departing: args.departing,
        outages: args.outage.clone(),
        moves: moves(args),
        seed: args.seed,
    })
}

// --- the arguments -------------------------------------------------------------------------------

/// `45d`, or `90d,45d@60d`: 45 days from day 60 on.
#[derive(Clone, Debug)]
struct Lifetimes(Vec<(Duration, Duration)>);

impl FromStr for Lifetimes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const ALLOWED: &str = "must be lifetimes of an hour at least, such as 45d or 160h, those after the first \
                               with the time from which they hold, counted from the start: 90d,64d@60d,45d@120d";
        let mut all: Vec<(Duration, Duration)> = Vec::new();
        for part in text.split(',') {
            let (life, from) = match part.split_once('@') {
                Some((life, from)) => (life, span(from).ok_or(ALLOWED)?),
                None if all.is_empty() => (part, Duration::ZERO),
                None => return Err(ALLOWED.to_owned()),
            };
            let life = span(life).filter(|life| *life >= SHORTEST_LIFE).ok_or(ALLOWED)?;
            let grows = all.last().is_none_or(|(before, _)| *before < from);
            if !grows || (all.is_empty() && !from.is_zero()) {
                return Err(ALLOWED.to_owned());
            }
            all.push((from, life));
        }
        Ok(Self(all))
    }
}

fn span(text: &str) -> Option<Duration> {
    text.trim().parse::<ConfigDuration>().ok().map(ConfigDuration::get)
}

fn onboarding(text: &str) -> Result<Onboarding, String> {
    match text {
        "import" => Ok(Onboarding::Import),
        "running" => Ok(Onboarding::Running),
        _ => match text.parse() {
            Ok(count @ 1..=1_000_000) => Ok(Onboarding::PerDay(count)),
            _ => Err("must be import, running, or how many come a day (1 to 1000000)".to_owned()),
        },
    }
}

fn share(text: &str) -> Result<f64, String> {
    text.strip_suffix('%')
        .and_then(|number| number.parse::<f64>().ok())
        .filter(|percent| (0.0..=100.0).contains(percent))
        .map(|percent| percent / 100.0)
        .ok_or_else(|| "must be a share from 0% to 100%, such as 2% or 0.5%".to_owned())
}

fn share_at(text: &str) -> Result<(f64, Duration), String> {
    text.split_once('@')
        .and_then(|(of, at)| Some((share(of).ok()?, span(at)?)))
        .ok_or_else(|| "must be a share and a time, counted from the start of the replay, such as 20%@30d".to_owned())
}

/// The moves of renewal windows, in their order.
fn moves(args: &Args) -> Vec<Move> {
    let to = |to| move |&(share, at): &(f64, Duration)| Move { at, share, to };
    let past = args.ari_past.iter().map(to(MoveTo::Past));
    let mut moves: Vec<_> = past
        .chain(args.ari_beyond.iter().map(to(MoveTo::BeyondExpiry)))
        .collect();
    moves.sort_by_key(|m| m.at);
    moves
}

fn window(text: &str) -> Result<Window, String> {
    text.split_once('+')
        .and_then(|(from, length)| {
            Some(Window {
                from: span(from)?,
                length: span(length).filter(|l| !l.is_zero())?,
            })
        })
        .ok_or_else(|| "must be start and length, counted from the start of the replay, such as 10d+6h".to_owned())
}

/// The limits with some of them changed, written as in the configuration.
fn changed_limits(configured: &Limits, text: &str) -> Result<Limits, String> {
    let inner = text.trim();
    let inner = inner
        .strip_prefix('{')
        .and_then(|t| t.strip_suffix('}'))
        .unwrap_or(inner);
    let told = |error: toml::de::Error| {
        format!(
            "{}; allowed: orders_per_account, per_registered_domain and failed_per_name, each a count in a time: \
             'orders_per_account = \"300/3h\", failed_per_name = \"5/1h\"'",
            error.message()
        )
    };
    #[derive(serde::Deserialize)]
    struct Wrapped {
        limits: toml::Table,
    }
    let Wrapped { limits: changes } = toml::from_str(&format!("limits = {{ {inner} }}")).map_err(told)?;
    let mut all = toml::Table::try_from(configured).map_err(|e| e.to_string())?;
    all.extend(changes);
    all.try_into().map_err(told)
}

// --- the report ----------------------------------------------------------------------------------

fn report(scenario: &Scenario, outcome: &Outcome) -> String {
    let row = |what: &str, how_much: String| [what.to_owned(), how_much];
    let n = thousands;
    let orders = &scenario.limits.orders_per_account;
    let mut rows = vec![
        row("domains", n(outcome.domains)),
        row("days", n(scenario.span.as_secs() / DAY.as_secs())),
        row(
            "orders",
            format!("{} (busiest day {})", n(outcome.orders), n(outcome.busiest_day)),
        ),
        row("first certificates", n(outcome.first)),
        row("renewals", n(outcome.renewals)),
        row(
            "failed orders",
            format!(
                "{} ({} validations, {} while the CA was away)",
                n(outcome.failed_validations + outcome.failed_unreachable),
                n(outcome.failed_validations),
                n(outcome.failed_unreachable)
            ),
        ),
        row(
            "refused by the CA's limits",
            format!(
                "{} ({} for the account, {} for a name)",
                n(outcome.refused_account + outcome.refused_name),
                n(outcome.refused_account),
                n(outcome.refused_name)
            ),
        ),
        row(
            "expired",
            match outcome.expired {
                0 => "none".to_owned(),
                count => format!(
                    "{}, the worst without a certificate for {}",
                    n(count),
                    about(outcome.longest_expired)
                ),
            },
        ),
        row("expired after leaving", n(outcome.expired_departed)),
        row(
            "longest queue",
            format!("{} orders for a slot", n(outcome.longest_queue)),
        ),
        row(
            "held back by a limit",
            format!(
                "{} domains at most, put off {} times",
                n(outcome.most_held_back),
                n(outcome.held_back)
            ),
        ),
        row("longest wait for a first", about(outcome.longest_wait)),
        row(
            "without a first in the end",
            format!(
                "{} waiting, {} that the CA cannot validate",
                n(outcome.still_waiting),
                n(outcome.never_issued)
            ),
        ),
    ];
    if let (Some(left), Some(share)) = (outcome.least_left, outcome.least_left_share) {
        let text = format!("{}, {:.0} % of the life", about(left), share * 100.0);
        rows.push(row("least left at renewal", text));
    }
    rows.push(row(
        "account's limit used",
        format!(
            "{} of {} orders ({:.0} %), at {} a {}",
            n(outcome.account_taken),
            n(outcome.account_allowed),
            100.0 * outcome.account_taken as f64 / outcome.account_allowed.max(1) as f64,
            orders.count,
            span_words(orders.per)
        ),
    ));
    rows.push(row(
        "such an account carries",
        if scenario.ari {
            format!(
                "any number of renewals (exempt by ARI), {} new ones a day",
                n(scenario.orders_per_day() as u64)
            )
        } else {
            format!(
                "{} domains, {} orders a day",
                n(scenario.carried()),
                n(scenario.orders_per_day() as u64)
            )
        },
    ));
    rows.push(row("renewal information asked", n(outcome.renewal_info_requests)));
    if outcome.replaced_after_move > 0 {
        let last = about(outcome.longest_after_move);
        let text = format!("{} certificates, the last after {last}", n(outcome.replaced_after_move));
        rows.push(row("replaced early at the CA's word", text));
    }
    let mut text = output::table(None, &rows);
    let refused = outcome.refused_account + outcome.refused_name;
    if refused > 0 {
        text.push_str(&format!(
            "\nTHE CA REFUSED {} ORDERS: its limits are tighter than those that acme.limits counts by.\n",
            n(refused)
        ));
    }
    if outcome.expired > 0 {
        text.push_str(&format!(
            "\nCERTIFICATES EXPIRE: {} ran out before they were replaced.\n",
            n(outcome.expired)
        ));
    }
    text
}

/// A span as people say it, in its two largest units.
fn about(span: Duration) -> String {
    let secs = span.as_secs();
    let (days, hours, minutes) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, _) => format!("{minutes} min {} s", secs % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_hold_what_is_allowed_alone() {
        let lifetimes = |text: &str| text.parse::<Lifetimes>().map(|l| l.0);
        assert_eq!(lifetimes("45d"), Ok(vec![(Duration::ZERO, DAY * 45)]));
        assert_eq!(
            lifetimes("90d,64d@60d"),
            Ok(vec![(Duration::ZERO, DAY * 90), (DAY * 60, DAY * 64)])
        );
        for bad in [
            "",
            "45",
            "1m",
            "90d@5d",
            "90d,45d",
            "90d,64d@9d,45d@9d",
            "90d,64d@60d@2d",
        ] {
            assert!(lifetimes(bad).is_err(), "{bad}");
        }
        assert_eq!(share("2.5%"), Ok(0.025));
        assert!(["2", "-1%", "101%", "NaN%", "%"].iter().all(|t| share(t).is_err()));
        assert_eq!(onboarding("500"), Ok(Onboarding::PerDay(500)));
        assert!(["0", "some", "-1"].iter().all(|t| onboarding(t).is_err()));
        assert_eq!(
            window("10d+6h"),
            Ok(Window {
                from: DAY * 10,
                length: DAY / 4
            })
        );
        assert_eq!(share_at("20%@30d"), Ok((0.2, DAY * 30)));
        assert!(["20%", "20@30d", "20%@", "20%@x"].iter().all(|t| share_at(t).is_err()));
        assert!(["10d", "10d+", "10d+0s", "a+b"].iter().all(|t| window(t).is_err()));
    }

    #[test]
    fn limits_are_written_as_in_the_configuration() {
        let standard = Limits::default();
        let changed = changed_limits(&standard, "orders_per_account = \"1000/3h\"").unwrap();
        assert_eq!(changed.orders_per_account.count, 1000);
        assert_eq!(changed.failed_per_name, standard.failed_per_name);
        assert_eq!(changed_limits(&standard, "{ }").unwrap(), standard);
        for bad in [
            "orders = \"1/1h\"",
            "orders_per_account = 5",
            "orders_per_account",
            "failed_per_name = \"0/1h\"",
        ] {
            let error = changed_limits(&standard, bad).unwrap_err();
            assert!(error.contains("orders_per_account = \"300/3h\""), "{error}");
        }
    }

    #[test]
    fn spans_are_told_in_two_units() {
        for (secs, text) in [(5, "5 s"), (65, "1 min 5 s"), (7_260, "2 h 1 min"), (90_000, "1 d 1 h")] {
            assert_eq!(about(Duration::from_secs(secs)), text);
        }
    }
}
