//! `/metrics`: every counter exists from the start with value 0, so that the first increment is visible as
//! an increase.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use linkseal_control::Patch;
use linkseal_domain::record::ProbeResult;
use linkseal_domain::ssl::FailureKind;

use crate::support::edge::{domain, operator};
use crate::support::until;
use crate::support::world::{Plan, World};

/// Not on this page in a test: a counter per domain, on a page of its own, and that of the log, which only a
/// real process sets up.
const EXCLUDED: [&str; 2] = [
    "linkseal_domain_handshakes_failed_total",
    "linkseal_log_lines_dropped_total",
];

async fn scrape(world: &World) -> String {
    let url = format!("http://{}/metrics", world.edge.admin);
    let answer = crate::support::client::Web::plain().call("GET", &url, None, &[]).await;
    answer.expect("an answer").text()
}

/// The samples by metric name: labels and value.
fn samples(text: &str) -> BTreeMap<&str, Vec<(&str, f64)>> {
    let mut all: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a sample");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        all.entry(name)
            .or_default()
            .push((labels, value.parse().expect("a number")));
    }
    all
}

/// Collects the names of all counters in the source.
fn counters(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            counters(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for part in code.split("\"linkseal_").skip(1) {
                let name: String = part
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                if name.ends_with("_total") && part[name.len()..].starts_with('"') {
                    found.insert(format!("linkseal_{name}"));
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_counter_exists_from_the_start() {
    let plan = Plan::new().await.set("acme.issue", "off");
    let plan = plan.add("upstream", "prefix = \"/app\"\nto = \"http://127.0.0.1:9\"");
    let world = plan.start_at_once().await;
    let text = scrape(&world).await;
    let samples = samples(&text);
    let mut named = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    counters(&root.join("src"), &mut named);
    counters(&root.join("crates"), &mut named);
    assert!(named.len() > 15, "{named:?}");
    let missing: Vec<_> = named
        .iter()
        .filter(|n| !EXCLUDED.contains(&n.as_str()) && !samples.contains_key(n.as_str()))
        .collect();
    assert!(missing.is_empty(), "not exported from the start: {missing:?}");

    let of = |name: &str| samples.get(name).unwrap_or_else(|| panic!("{name}"));
    let count = |name: &str| of(name).len();
    for name in ["linkseal_acme_orders_total", "linkseal_probes_total"] {
        assert!(
            of(name).iter().all(|(_, value)| *value == 0.0),
            "{name}: {:?}",
            of(name)
        );
    }
    assert_eq!(count("linkseal_acme_orders_total"), FailureKind::ALL.len() + 1);
    assert_eq!(count("linkseal_probes_total"), ProbeResult::ALL.len());
    for (name, labels) in [
        (
            "linkseal_admin_auth_failures_total",
            &["no_token", "unknown_token", "throttled"][..],
        ),
        ("linkseal_admin_connections_closed_total", &["displaced", "overdue"]),
        ("linkseal_ask_total", &["yes", "no", "unreachable"]),
        ("linkseal_cname_total", &["yes", "no", "unreachable", "limited"]),
        ("linkseal_config_reloads_total", &["ok", "refused"]),
        ("linkseal_connections_total", &["http", "https"]),
        ("linkseal_connections_refused_total", &["http", "https"]),
        (
            "linkseal_dns_checks_total",
            &[
                "right",
                "missing",
                "elsewhere",
                "proxied",
                "stray_aaaa",
                "caa_forbids",
                "error",
                "no_resolver",
            ],
        ),
        ("linkseal_dead_letters_total", &["archive", "domains"]),
        ("linkseal_certificates_not_renewed", &["paused", "retired"]),
    ] {
        let shown = of(name);
        assert_eq!(shown.len(), labels.len(), "{name}: {shown:?}");
        for label in labels {
            let quoted = format!("\"{label}\"");
            assert!(shown.iter().any(|(l, _)| l.contains(&quoted)), "{name}: {label}");
        }
    }
    for result in ["ok", "retry", "refused", "gone"] {
        let labels = format!("result=\"{result}\",sink=\"archive\"}}");
        let shown = of("linkseal_sink_deliveries_total");
        assert!(shown.iter().any(|(l, _)| *l == labels), "{labels}: {shown:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_are_not_renewed_are_counted_by_reason() {
    let world = Plan::on_register().await.start().await;
    let names = ["links.paused.test", "links.retired.test", "links.served.test"];
    for name in names {
        world.edge.register(name).await;
        world.edge.until_issued(name).await;
    }
    let paused = Patch {
        paused: Some(true),
        ..Patch::default()
    };
    let control = &world.edge.control;
    control
        .operator()
        .patch(&domain(names[0]), paused, &operator())
        .await
        .expect("paused");
    control
        .operator()
        .retire(&domain(names[1]), &operator())
        .await
        .expect("retired");
    until("both are counted", async || {
        let text = scrape(&world).await;
        let line =
            |why: &str, n: u32| text.contains(&format!("linkseal_certificates_not_renewed{{why=\"{why}\"}} {n}"));
        (line("paused", 1) && line("retired", 1)).then_some(())
    })
    .await;
}
