//! The API's report, the domain's state, the sentence for it, the page and what the edge does agree,
//! whatever DNS answers and whatever an operator has set; and what a page's buttons cost is said before
//! they are pressed.

use linkseal_dns::script::Script;
use linkseal_domain::dns::DnsSummary;
use linkseal_domain::ssl::{CertificateInfo, Reason, SslStatus, State};

use super::pages::{Browser, csrf, is_page};
use super::*;

/// The part of a page with this id, up to the end of its section.
fn part<'p>(page: &'p Reply, id: &str) -> &'p str {
    is_page(page, 200);
    let (_, rest) = page
        .text()
        .split_once(&format!("id=\"{id}\""))
        .unwrap_or_else(|| panic!("{id}: {page:?}"));
    rest.split("</section>").next().unwrap()
}

/// The first time in a part of a page.
fn time(part: &str) -> &str {
    let (_, rest) = part.split_once("datetime=\"").unwrap_or_else(|| panic!("{part}"));
    rest.split('"').next().unwrap()
}

/// That the card, the facts and the report of a page with a report say the same.
fn agree(page: &Reply, is_right: bool, reason: &str, ours: bool) {
    let (state, facts, records) = (part(page, "state"), part(page, "facts"), part(page, "records"));
    let (_, steps) = state.split_once("<li class=\"").unwrap_or_else(|| panic!("{state}"));
    let first_step = steps.split('"').next().unwrap();
    let expected = match (is_right, ours) {
        (true, _) => "done",
        // Nothing is known against the customer's DNS.
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
    let (_, looked_at) = facts.split_once("DNS looked at").unwrap();
    assert_eq!(time(looked_at), time(records), "{reason}");
}

const NAME: &str = "links.customer.example";
const APEX: &str = "customer.example";
/// The edge's configured addresses.
const OURS: [&str; 2] = ["203.0.113.1", "2001:db8::1"];
const CA: &str = "ca.example";

/// DNS, and what everything has to say about it.
struct Case {
    what: &'static str,
    name: &'static str,
    records: Vec<(&'static str, Kind, &'static str)>,
    failing: Vec<(&'static str, Kind)>,
    /// The reason without a certificate, and with one. `None`: DNS is right.
    reasons: Option<(&'static str, &'static str)>,
    /// What stands both in the sentence and in a row that has to be changed.
    says: &'static str,
    /// Whether it is our own resolver or zone that fails.
    ours: bool,
}

fn case(
    what: &'static str,
    records: &[(&'static str, Kind, &'static str)],
    reasons: Option<(&'static str, &'static str)>,
    says: &'static str,
) -> Case {
    Case {
        what,
        name: NAME,
        records: records.to_vec(),
        failing: Vec::new(),
        reasons,
        says,
        ours: false,
    }
}

impl Case {
    fn failing(mut self, failing: &[(&'static str, Kind)]) -> Self {
        self.failing = failing.to_vec();
        self
    }

    fn at(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    fn ours(mut self) -> Self {
        self.ours = true;
        self
    }
}

fn cases() -> Vec<Case> {
    use Kind::{A, Aaaa, Caa, Cname};
    let everything = [A, Aaaa, Cname, Caa, Kind::Txt, Kind::Ns].map(|kind| (NAME, kind));
    let moved = |reason| Some((reason, "moved"));
    // Long before its renewal, a certificate is as good as before.
    let failing = |reason| Some((reason, "ok"));
    let via = "t.customer.example";
    vec![
        case("right", &[(NAME, Cname, EDGE)], None, ""),
        case(
            "several hops",
            &[
                (NAME, Cname, via),
                (via, Cname, "u.other.example"),
                ("u.other.example", Cname, EDGE),
            ],
            None,
            "",
        ),
        case(
            "a hop to our address",
            &[(NAME, Cname, via), (via, A, OURS[0])],
            None,
            "",
        ),
        case(
            "the apex at our addresses",
            &[(APEX, A, OURS[0]), (APEX, Aaaa, OURS[1])],
            None,
            "",
        )
        .at(APEX),
        case("missing", &[], moved("dns_missing"), "CNAME track.platform.example"),
        case(
            "the apex without records",
            &[],
            moved("dns_missing"),
            "203.0.113.1, 2001:db8::1",
        )
        .at(APEX),
        case(
            "the apex elsewhere",
            &[(APEX, A, "192.0.2.9")],
            moved("dns_elsewhere"),
            "203.0.113.1, 2001:db8::1",
        )
        .at(APEX),
        case(
            "elsewhere",
            &[(NAME, Cname, "other.example")],
            moved("dns_elsewhere"),
            "points to other.example",
        ),
        case(
            "several hops elsewhere",
            &[
                (NAME, Cname, via),
                (via, Cname, "u.other.example"),
                ("u.other.example", A, "192.0.2.9"),
            ],
            moved("dns_elsewhere"),
            "points to t.customer.example",
        ),
        case(
            "right and wrong addresses",
            &[(NAME, A, OURS[0]), (NAME, A, "192.0.2.9")],
            moved("dns_elsewhere"),
            "points to 192.0.2.9",
        ),
        case(
            "proxied, by address",
            &[(NAME, A, "104.16.0.1"), (NAME, Aaaa, "2606:4700::1")],
            moved("proxied"),
            "Cloudflare proxy",
        ),
        case(
            "proxied, by target",
            &[(NAME, Cname, "d1.cloudfront.net")],
            moved("proxied"),
            "Amazon CloudFront proxy",
        ),
        case(
            "a stray AAAA",
            &[(NAME, A, OURS[0]), (NAME, Aaaa, "2001:db8::9")],
            failing("stray_aaaa"),
            "AAAA record 2001:db8::9 of links.customer.example",
        ),
        case(
            "a stray AAAA behind a hop",
            &[(NAME, Cname, via), (via, A, OURS[0]), (via, Aaaa, "2001:db8::9")],
            failing("stray_aaaa"),
            "AAAA record 2001:db8::9 of t.customer.example",
        ),
        case(
            "CAA at the name",
            &[(NAME, Cname, EDGE), (NAME, Caa, "0 issue other.example")],
            failing("caa_forbids"),
            "Add this record at links.customer.example: CAA 0 issue \"ca.example\"",
        ),
        case(
            "CAA above",
            &[(NAME, Cname, EDGE), (APEX, Caa, "0 issue other.example")],
            failing("caa_forbids"),
            "Add this record at customer.example: CAA 0 issue \"ca.example\"",
        ),
        case(
            "the zone fails",
            &[],
            failing("dns_error"),
            "DNS servers of customer.example fail (SERVFAIL)",
        )
        .failing(&everything),
        case(
            "a hop's zone fails",
            &[(NAME, Cname, "u.other.example")],
            failing("dns_error"),
            "DNS servers of other.example fail (SERVFAIL)",
        )
        .failing(&[("u.other.example", Cname)]),
        case(
            "CAA fails",
            &[(NAME, Cname, EDGE)],
            failing("dns_error"),
            "DNS servers of customer.example fail (SERVFAIL)",
        )
        .failing(&[(APEX, Caa)]),
        case("our resolver fails", &[], Some(("never_requested", "ok")), "")
            .failing(&[everything.as_slice(), &[(EDGE, A)]].concat())
            .ours(),
        case(
            "our zone fails for CAA",
            &[(NAME, Cname, EDGE)],
            Some(("never_requested", "ok")),
            "",
        )
        .failing(&[(NAME, Caa), (EDGE, Caa)])
        .ours(),
    ]
}

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

/// Gives a domain a certificate that lasts.
async fn hold(edge: &Harness, name: &str) {
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

/// What an answer of the API says of the SSL state.
fn ssl(answer: &Value) -> (String, String) {
    let text = |key: &Value| key.as_str().unwrap().to_owned();
    (text(&answer["reason"]), text(&answer["message"]["en"]))
}

/// That a report's rows, its summary and the sentence beside it say what the case says.
fn says(case: &Case, report: &Value, reason: &str, at: &str) {
    let (found, sentence) = ssl(&report["ssl"]);
    let what = format!("{}, {at}: {report}", case.what);
    let rows: Vec<&Value> = report["records"].as_array().unwrap().iter().collect();
    let verdicts: Vec<&str> = rows.iter().map(|r| r["verdict"].as_str().unwrap()).collect();
    let is_right = case.reasons.is_none();
    assert_eq!(report["https"], is_right, "{what}");
    // The command line's exit status goes by both; it names the rows that are not right.
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
async fn report_state_sentence_page_and_edge_agree_whatever_dns_answers() {
    for case in cases() {
        let edge = edge_on(script(&case)).await;
        let name = case.name;
        edge.add(name).await;
        let mut browser = Browser::new(&edge);
        let (bare, held) = case.reasons.unwrap_or(("never_requested", "ok"));
        let reported = edge.get(&format!("/v1/domains/{name}/dns")).await.json();
        says(&case, &reported, bare, "looked at");
        agree(
            &browser.get(&format!("/domains/{name}/dns")).await,
            case.reasons.is_none(),
            bare,
            case.ours,
        );
        // A look changes nothing.
        let stored = edge.store.domain(&super::name(name)).await.unwrap().unwrap();
        assert_eq!(
            (stored.ssl.reason.as_str(), stored.dns.checked),
            ("never_requested", None),
            "{}",
            case.what
        );
        // What lets a name in at its first handshake.
        let leads_here = edge.checker.leads_here(&super::name(name)).await;
        let here = match (bare, case.what) {
            ("dns_error", what) if what != "CAA fails" => None,
            ("never_requested" | "caa_forbids" | "dns_error", "our resolver fails") => None,
            ("never_requested" | "caa_forbids" | "dns_error", _) => Some(true),
            _ => Some(false),
        };
        assert_eq!(leads_here, here, "{}", case.what);

        // The same with a certificate: it is served on, and no mailer is told to use it where it is lost.
        hold(&edge, name).await;
        let verified = edge
            .post(&format!("/v1/domains/{name}/verify"), Value::Null)
            .await
            .json();
        says_held(&case, &verified, held);
        let domain = edge.get(&format!("/v1/domains/{name}")).await.json();
        assert_eq!(ssl(&domain["ssl"]), ssl(&verified["ssl"]), "{}", case.what);
        assert_eq!(domain["ssl"]["state"], "issued", "{}", case.what);
        let still_ready = case.reasons.is_none() || case.ours;
        // Servers that fail for an hour take no mailer's HTTPS away.
        let silent = bare == "dns_error";
        assert_eq!(domain["https_ready"], still_ready || silent, "{}", case.what);
        assert_eq!(domain["dns"]["https"], still_ready, "{}", case.what);
        let page = browser.get(&format!("/domains/{name}")).await;
        let sentence = escaped(domain["ssl"]["message"]["en"].as_str().unwrap());
        assert!(part(&page, "state").contains(&sentence), "{}: {page:?}", case.what);
        let held_up = part(&page, "state").contains("held up");
        assert_eq!(held_up, !still_ready, "{}: the steps say so", case.what);
        if !still_ready {
            assert!(
                part(&page, "state").contains("We look again"),
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
async fn report_state_sentence_and_page_agree_after_verify() {
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
            // It is looked at again without being asked.
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

/// What an operator has set goes over what DNS says, in every place, and nothing promises an order.
#[tokio::test]
async fn what_is_set_aside_is_said_alike_everywhere() {
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
                hold(&edge, NAME).await;
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

#[tokio::test]
async fn what_is_costly_is_confirmed_in_a_second_step() {
    let edge = Harness::start(vec![]).await;
    edge.add("right.customer.example").await;
    let patch = edge.call("PATCH", "/v1/domains/right.customer.example");
    patch.json(serde_json::json!({"http_while_pending": true})).send().await;
    let mut browser = Browser::new(&edge);
    let page = browser.get("/domains/right.customer.example").await;
    let settings = part(&page, "settings");
    for (id, action) in [
        ("confirm-pause", "/pause"),
        ("confirm-http", "/http"),
        ("confirm-reissue", "/reissue"),
    ] {
        let form = format!("action=\"/domains/right.customer.example{action}\"");
        assert_eq!(settings.matches(&form).count(), 1, "{settings}");
        let (_, details) = settings
            .split_once(&format!("id=\"{id}\""))
            .unwrap_or_else(|| panic!("{settings}"));
        // Closed until it is asked for, and the button is inside.
        assert!(details.starts_with("><summary>"), "{details}");
        assert!(details.split("</details>").next().unwrap().contains(&form), "{details}");
    }
    for limit in [
        "one order of the account",
        "registered domain",
        "one of 5 manual orders",
    ] {
        assert!(settings.contains(limit), "{limit}: {settings}");
    }
    let german = browser.get("/domains/right.customer.example?lang=de").await;
    assert!(
        part(&german, "settings").contains("eine von 5 manuellen Bestellungen"),
        "{german:?}"
    );
}

#[tokio::test]
async fn registering_a_known_name_says_so() {
    let edge = Harness::start(vec![]).await;
    edge.add("right.customer.example").await;
    let mut browser = Browser::new(&edge);
    let token = csrf(&browser.get("/register").await);
    let fields = [
        ("csrf", token.as_str()),
        ("name", "right.customer.example"),
        ("tenant", ""),
        ("sending_domain", ""),
    ];
    let known = browser.post("/register", &fields).await;
    assert_eq!(known.status, 303, "{known:?}");
    let page = browser.get(known.header("location")).await;
    is_page(&page, 200);
    assert!(page.text().contains("The domain was registered already."), "{page:?}");
}

#[tokio::test]
async fn the_next_attempt_is_shown_after_an_error_too() {
    let edge = Harness::start(vec![]).await;
    edge.add("right.customer.example").await;
    let (name, now) = (name("right.customer.example"), edge.clock.now());
    let mut record = edge.store.domain(&name).await.unwrap().unwrap();
    let at = now + Duration::from_secs(3_600);
    let error = serde_json::json!({"type": "x", "detail": "refused", "at": now, "subproblems": []});
    record.ssl.last_error = serde_json::from_value(error).unwrap();
    record.ssl.reason = Reason::GivenUp;
    record.ssl.next_attempt = Some(at);
    edge.store
        .transition(linkseal_store::Transition::of(record))
        .await
        .unwrap();
    let page = Browser::new(&edge).get("/domains/right.customer.example").await;
    let (_, after) = part(&page, "state")
        .split_once("We look again by ourselves at")
        .unwrap();
    assert_eq!(time(after), at.to_string());
}
