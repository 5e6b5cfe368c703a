//! The API's report, the domain's state and message, the page and the edge's behaviour agree, whatever
//! DNS answers and whatever an operator has set.

mod cases;

use linkseal_dns::testing::Script;
use linkseal_domain::dns::DnsSummary;
use linkseal_domain::ssl::{CertificateInfo, Reason, SslStatus, State};

use super::browser::{Browser, csrf, is_page};
use super::*;
use cases::{Case, cases};

/// The part of a page with this id, up to the end of its section.
pub(super) fn part<'p>(page: &'p Reply, id: &str) -> &'p str {
    is_page(page, 200);
    let (_, rest) = page
        .text()
        .split_once(&format!("id=\"{id}\""))
        .unwrap_or_else(|| panic!("{id}: {page:?}"));
    rest.split("</section>").next().unwrap()
}

/// The first time in a part of a page.
pub(super) fn time(part: &str) -> &str {
    let (_, rest) = part.split_once("datetime=\"").unwrap_or_else(|| panic!("{part}"));
    rest.split('"').next().unwrap()
}

/// Asserts that status, facts and report of a page agree.
fn agree(page: &Reply, is_right: bool, reason: &str, ours: bool) {
    let (state, facts, records) = (part(page, "state"), part(page, "facts"), part(page, "records"));
    let (_, steps) = state.split_once("<li class=\"").unwrap_or_else(|| panic!("{state}"));
    let first_step = steps.split('"').next().unwrap();
    let expected = match (is_right, ours) {
        (true, _) => "done",
        // Nothing is known about the customer's DNS.
        (false, true) => first_step,
        (false, false) => "stuck",
    };
    assert_eq!(first_step, expected, "{reason}: {state}");
    assert_ne!((first_step, ours), ("stuck", true), "{reason}: {state}");
    assert!(!state.contains('…'), "{state}");
    assert_eq!(records.contains("alert good"), is_right, "{reason}: {records}");
    assert_eq!(records.contains("alert info"), ours, "{reason}: {records}");
    if !is_right && !ours {
        assert!(
            !state.contains("No certificate has been requested yet"),
            "{reason}: {state}"
        );
    }
    let (_, checked) = facts.split_once("DNS checked").unwrap();
    assert_eq!(time(checked), time(records), "{reason}");
}

const NAME: &str = "links.customer.example";
const APEX: &str = "customer.example";
/// The edge's configured addresses.
const OURS: [&str; 2] = ["203.0.113.1", "2001:db8::1"];
const CA: &str = "ca.example";

fn script(case: &Case) -> Script {
    let script = Script::new();
    for (name, kind, value) in [(EDGE, Kind::A, OURS[0]), (EDGE, Kind::Aaaa, OURS[1])]
        .iter()
        .chain(&case.records)
    {
        script.add(name, *kind, value);
    }
    for (name, kind) in &case.failing {
        script.fail(name, *kind, LookupError::ServFail { text: None });
    }
    script
}

async fn edge_on(script: Script) -> Harness {
    let dns = Dns {
        lookup: Some(Arc::new(script)),
        addresses: OURS.map(|ip| ip.parse().unwrap()).to_vec(),
        cas: vec![CaIdentity {
            identities: vec![CA.to_owned()],
            account_uri: None,
        }],
    };
    Harness::start_with("127.0.0.1:0", vec![], Issue::OnDemand, dns).await
}

/// Gives a domain a long-lived certificate.
async fn give_certificate(edge: &Harness, name: &str) {
    let now = edge.clock.now();
    let mut record = edge.store.domain(&super::name(name)).await.unwrap().unwrap();
    record.ssl = SslStatus::new(now);
    record.ssl.reason = Reason::Ok;
    record.dns = DnsSummary {
        checked: Some(now),
        https: true,
        verified: true,
    };
    let day = Duration::from_secs(86_400);
    record.ssl.certificate = Some(CertificateInfo {
        not_before: now,
        not_after: now + day * 80,
        obtained: Some(now),
        issuer: "Test CA".into(),
        serial: "01".into(),
        sans: vec![name.to_owned()],
        ca: "https://127.0.0.1:9/directory".into(),
        ari_id: None,
        renew_at: now + day * 50,
        ari_check_at: None,
    });
    edge.store
        .transition(linkseal_store::Transition::of(record))
        .await
        .unwrap();
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Reason and English message of an answer of the API.
fn ssl(answer: &Value) -> (String, String) {
    let text = |key: &Value| key.as_str().unwrap().to_owned();
    (text(&answer["reason"]), text(&answer["message"]["en"]))
}

/// Asserts that the rows, the summary and the message of a report match the case.
fn says(case: &Case, report: &Value, reason: &str, at: &str) {
    let (found, sentence) = ssl(&report["ssl"]);
    let what = format!("{}, {at}: {report}", case.what);
    let rows: Vec<&Value> = report["records"].as_array().unwrap().iter().collect();
    let verdicts: Vec<&str> = rows.iter().map(|r| r["verdict"].as_str().unwrap()).collect();
    let is_right = case.reasons.is_none();
    assert_eq!(report["https"], is_right, "{what}");
    // The exit status of the command line depends on both; it lists the rows that are not ok.
    assert_eq!(report["verified"], is_right, "{what}");
    assert_eq!(verdicts.iter().all(|v| *v == "ok"), is_right, "{what}");
    if !is_right {
        assert_eq!(found, reason, "{what}");
        assert!(sentence.contains(case.says), "{what}");
        assert!(
            rows.iter()
                .any(|r| r["hint"]["en"].as_str().unwrap().contains(case.says)),
            "{what}"
        );
    }
    if case.ours {
        let blames = |text: &str| text.contains("DNS provider");
        assert!(
            !blames(&sentence) && !rows.iter().any(|r| blames(r["hint"]["en"].as_str().unwrap())),
            "{what}"
        );
        assert!(verdicts.iter().all(|v| ["ok", "not_checked"].contains(v)), "{what}");
    }
}

#[tokio::test]
async fn report_state_message_page_and_edge_agree() {
    for case in cases() {
        let edge = edge_on(script(&case)).await;
        let name = case.name;
        edge.add(name).await;
        let mut browser = Browser::new(&edge);
        let (bare, held) = case.reasons.unwrap_or(("never_requested", "ok"));
        let reported = edge.get(&format!("/v1/domains/{name}/dns")).await.json();
        says(&case, &reported, bare, "checked");
        agree(
            &browser.get(&format!("/domains/{name}/dns")).await,
            case.reasons.is_none(),
            bare,
            case.ours,
        );
        // A check changes nothing.
        let stored = edge.store.domain(&super::name(name)).await.unwrap().unwrap();
        assert_eq!(
            (stored.ssl.reason.as_str(), stored.dns.checked),
            ("never_requested", None),
            "{}",
            case.what
        );
        // Decides whether a name is admitted at its first handshake.
        let points_here = edge.checker.points_here(&super::name(name)).await;
        let here = match (bare, case.what) {
            ("dns_error", what) if what != "CAA fails" => None,
            ("never_requested" | "caa_forbids" | "dns_error", "our resolver fails") => None,
            ("never_requested" | "caa_forbids" | "dns_error", _) => Some(true),
            _ => Some(false),
        };
        assert_eq!(points_here, here, "{}", case.what);

        // The same with a certificate: it is still served, but not reported as ready if DNS points elsewhere.
        give_certificate(&edge, name).await;
        let verified = edge
            .post(&format!("/v1/domains/{name}/verify"), Value::Null)
            .await
            .json();
        says_held(&case, &verified, held);
        let domain = edge.get(&format!("/v1/domains/{name}")).await.json();
        assert_eq!(ssl(&domain["ssl"]), ssl(&verified["ssl"]), "{}", case.what);
        assert_eq!(domain["ssl"]["state"], "issued", "{}", case.what);
        let still_ready = case.reasons.is_none() || case.ours;
        // DNS servers that fail for an hour do not end readiness.
        let dns_fails = bare == "dns_error";
        assert_eq!(domain["https_ready"], still_ready || dns_fails, "{}", case.what);
        assert_eq!(domain["dns"]["https"], still_ready, "{}", case.what);
        let page = browser.get(&format!("/domains/{name}")).await;
        let sentence = escaped(domain["ssl"]["message"]["en"].as_str().unwrap());
        assert!(part(&page, "state").contains(&sentence), "{}: {page:?}", case.what);
        let blocked = part(&page, "state").contains("blocked");
        assert_eq!(blocked, !still_ready, "{}: in the steps", case.what);
        if !still_ready {
            assert!(
                part(&page, "state").contains("Next automatic check"),
                "{}: {page:?}",
                case.what
            );
        }
    }
}

fn says_held(case: &Case, report: &Value, reason: &str) {
    let (found, sentence) = ssl(&report["ssl"]);
    assert_eq!(found, reason, "{}: {report}", case.what);
    assert_eq!(report["https"], case.reasons.is_none(), "{}", case.what);
    if reason == "ok" {
        assert!(
            sentence.starts_with("The certificate is valid"),
            "{}: {sentence}",
            case.what
        );
    }
}

#[tokio::test]
async fn report_state_message_and_page_agree_after_verify() {
    for case in cases() {
        let edge = edge_on(script(&case)).await;
        let name = case.name;
        edge.add(name).await;
        let mut browser = Browser::new(&edge);
        let token = csrf(&browser.get(&format!("/domains/{name}/dns")).await);
        let verified = browser
            .post(&format!("/domains/{name}/verify"), &[("csrf", &token)])
            .await;
        assert_eq!(verified.status, 303, "{verified:?}");
        let (bare, _) = case.reasons.unwrap_or(("never_requested", "ok"));
        let page = browser.get(verified.header("location")).await;
        agree(&page, case.reasons.is_none(), bare, case.ours);
        let domain = edge.get(&format!("/v1/domains/{name}")).await.json();
        if case.ours {
            // It is checked again automatically.
            assert_ne!(domain["ssl"]["next_attempt"], Value::Null, "{}: {domain}", case.what);
        } else if case.reasons.is_some() {
            assert_eq!(domain["ssl"]["reason"], bare, "{}", case.what);
            assert_eq!(
                domain["ssl"]["state"], "unknown",
                "no order for wrong DNS: {}",
                case.what
            );
            let sentence = escaped(domain["ssl"]["message"]["en"].as_str().unwrap());
            assert!(part(&page, "state").contains(&sentence), "{}: {page:?}", case.what);
        }
    }
}

/// What an operator has set takes precedence over DNS everywhere, and nothing promises an order.
#[tokio::test]
async fn paused_and_retired_domains_are_described_alike_everywhere() {
    for case in cases()
        .into_iter()
        .filter(|c| ["right", "missing", "our resolver fails"].contains(&c.what))
    {
        for (aside, certificate) in [
            ("paused", true),
            ("paused", false),
            ("retired", true),
            ("retired", false),
        ] {
            let edge = edge_on(script(&case)).await;
            let what = format!("{}, {aside}, {certificate}", case.what);
            edge.add(NAME).await;
            if certificate {
                give_certificate(&edge, NAME).await;
            }
            match aside {
                "paused" => drop(
                    edge.call("PATCH", "/v1/domains/links.customer.example")
                        .json(serde_json::json!({"paused": true}))
                        .send()
                        .await,
                ),
                _ => drop(edge.call("DELETE", "/v1/domains/links.customer.example").send().await),
            }
            let verified = edge
                .post(&format!("/v1/domains/{NAME}/verify"), Value::Null)
                .await
                .json();
            let domain = edge.get(&format!("/v1/domains/{NAME}")).await.json();
            let (reason, sentence) = ssl(&domain["ssl"]);
            assert_eq!(ssl(&verified["ssl"]), (reason.clone(), sentence.clone()), "{what}");
            assert_eq!(domain["ssl"]["next_attempt"], Value::Null, "{what}: {domain}");
            assert!(
                !sentence.contains("automatically") && !sentence.to_lowercase().contains("verify"),
                "{what}: {sentence}"
            );
            let state = if certificate { State::Issued } else { State::Unknown };
            assert_eq!(domain["ssl"]["state"], state.as_str(), "{what}: {domain}");
            if certificate && case.reasons.is_none() {
                assert_eq!(domain["https_ready"], true, "{what}");
            }
            let says_aside = if aside == "paused" { "aused" } else { "Retired" };
            if reason != "moved" {
                assert!(sentence.contains(says_aside), "{what}: {sentence}");
            }
            let page = Browser::new(&edge).get(&format!("/domains/{NAME}/dns")).await;
            assert!(
                part(&page, "state").contains(&escaped(&sentence)),
                "{what}: {sentence} {page:?}"
            );
            assert!(!part(&page, "state").contains("class=\"steps\""), "{what}");
        }
    }
}
