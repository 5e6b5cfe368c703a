//! `linkseal simulate`: replays months of a fleet in a minute, to show the effect of a CA's limits and lifetimes.

mod arguments;
mod report;

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use linkseal_config::{Config, ConfigDuration, argument};
use serde_json::json;

use self::arguments::{Lifetimes, changed_limits, moves, onboarding, share, share_at, window};
use super::{Failure, output, whole};
use crate::app::wiring;
use crate::simulate::{self, DAY, MONTH, Onboarding, Scenario, Window};

/// The largest replay: a larger one costs memory and time and shows nothing new.
const MOST_DOMAINS: u64 = 1_000_000;
/// The longest replay: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);

/// Simulate a fleet over months of virtual time, under given limits and lifetimes.
///
/// Replays it with the scheduler's own code, and prints (and plots) queue, failures and expiries. CA and customers are simulated; nothing is sent anywhere.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Number of domains (1 to 1000000).
    #[arg(long, default_value_t = 10_000, value_parser = whole::<u32>(1..=MOST_DOMAINS))]
    domains: u32,
    /// Number of months of 30 days to replay (1 to 120).
    #[arg(long, default_value_t = 6, value_parser = whole::<u32>(1..=120))]
    months: u32,
    /// Number of days to replay, instead of months (1 to 3660).
    #[arg(long, conflicts_with = "months", value_parser = whole::<u32>(1..=3660))]
    days: Option<u32>,
    /// Lifetime of certificates: 45d, 160h; or, with changes at times counted from the start, 90d,64d@60d,45d@120d.
    #[arg(long, default_value = "90d")]
    lifetime: Lifetimes,
    /// How domains arrive: import (all at the start), running (all registered long ago, with
    /// certificates of any age), or a number per day: 500.
    #[arg(long, default_value = "import", value_parser = onboarding)]
    onboard: Onboarding,
    /// How many names share a registered domain (1 to 10000).
    #[arg(long, default_value_t = 1, value_parser = whole::<u32>(1..=10_000))]
    names_per_registered_domain: u32,
    /// Take acme.limits and acme.max_concurrent_orders from this configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Limits that differ from the configuration's (or Let's Encrypt's), written as there:
    /// 'orders_per_account = "300/3h", per_registered_domain = "50/7d", failed_per_name = "5/1h"'.
    #[arg(long, value_name = "LIMITS")]
    limits: Option<String>,
    /// Whether the CA offers renewal information (ARI), and exempts renewals by it from its limits.
    #[arg(long, default_value = "on", value_parser = ["on", "off"])]
    ari: String,
    /// Concurrent orders (1 to 10000). Default: as configured, else 16.
    #[arg(long, value_parser = whole::<u32>(1..=10_000))]
    max_concurrent_orders: Option<u32>,
    /// Average duration of an order.
    #[arg(long, default_value = "8s", value_parser = argument::<ConfigDuration>)]
    order_time: ConfigDuration,
    /// Share of the domains that the CA can never reach, such as 2% (0% to 100%).
    #[arg(long, default_value = "0%", value_parser = share)]
    failing: f64,
    /// Share of the orders that fail although DNS is correct.
    #[arg(long, default_value = "0%", value_parser = share)]
    flaky: f64,
    /// Share of the customers that leave within a month.
    #[arg(long, default_value = "0%", value_parser = share)]
    departing: f64,
    /// An outage of the CA, as start and length: 10d+6h. May be repeated.
    #[arg(long, value_name = "START+LENGTH", value_parser = window)]
    outage: Vec<Window>,
    /// Limits that the CA enforces, if they differ from those that linkseal counts by; written as in --limits.
    #[arg(long, value_name = "LIMITS")]
    ca_limits: Option<String>,
    /// Retry-After of every refusal and during outages, such as 36500d. Default: the time until the limit
    /// has room again; none during outages.
    #[arg(long, value_name = "SPAN", value_parser = argument::<ConfigDuration>)]
    retry_after: Option<ConfigDuration>,
    /// Share of the certificates whose renewal windows the CA moves to the past, as before a mass
    /// revocation, and when: 20%@30d. May be repeated.
    #[arg(long, value_name = "SHARE@TIME", value_parser = share_at)]
    ari_past: Vec<(f64, Duration)>,
    /// The same for windows that the CA moves beyond the certificates' expiry.
    #[arg(long, value_name = "SHARE@TIME", value_parser = share_at)]
    ari_beyond: Vec<(f64, Duration)>,
    /// Seed of the random numbers: the same seed gives the same outcome.
    #[arg(long, default_value_t = 1, value_parser = whole::<u64>(0..=u64::MAX))]
    seed: u64,
    /// Also plot the outcome, as SVG, into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let scenario = scenario(args)?;
    if let Some(file) = &args.svg {
        // Checked before the replay, which may take minutes.
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
    output::text(&report::report(&scenario, &outcome))?;
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
