//! The link inspector agrees with the edge, however a link is spelled and whatever was appended to it.

use linkseal_link::{Finding, Inspection, LinkKind, Pasted, Place, Served, explain, slugs_in, unwrapped};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use super::*;

const SHOP: &str = "https://shop.example/";
const SLUG: &str = "sommer";

/// Inspects a pasted link as the control plane does.
fn inspect(edge: &Edge, text: &str) -> Inspection {
    let settings = edge.context.settings.load();
    let registry = &edge.context.registry;
    let pasted = Pasted::of(text);
    let name = pasted.name().unwrap();
    let place = match settings.names.contains(&name) {
        true => Place::Edge,
        false => Place::Domain,
    };
    let tenants = pasted.tenants(&settings.prefix, place, |host| {
        let entry = registry.get(host).unwrap();
        let former = entry.former_tenants().iter().cloned();
        std::iter::once(entry.tenant().to_owned()).chain(former).collect()
    });
    let tenants: Vec<&str> = tenants.iter().map(String::as_str).collect();
    let is_served = |host: &str| settings.names.contains(host) || registry.get(host).is_some();
    let hit = |tenant: &str, message: Option<Uuid>, to: &Destination<'_>| edge.context.kills.hit(tenant, message, to);
    let served = Served {
        now: edge.context.clock.now().unix(),
        max_age: settings.max_age,
        prefix: &settings.prefix,
        place,
        is_served: Some(&is_served),
        kills: Some(&hit),
    };
    let link = pasted.link(Some(&settings.prefix));
    let stored = link
        .filter(|link| link.kind == LinkKind::Redirect && name == CUSTOMER)
        .is_some_and(|link| slugs_in(link.text).any(|slug| slug == SLUG));
    explain(text, Some(&settings.prefix), &settings.keys, &tenants, [])
        .as_served(text, &served)
        .as_stored(
            text,
            stored.then_some((SLUG, SHOP, None)),
            tenants.first().copied().unwrap_or_default(),
            &served,
        )
}

/// A link and what was done to it.
#[derive(Clone, Debug)]
struct Spelled {
    kind: usize,
    host: &'static str,
    /// Before the letter: slashes, prefix, tenant.
    before: String,
    /// The letter and the slashes after it.
    letter: [&'static str; 2],
    /// `-` and `_` in the token are encoded.
    encoded: bool,
    /// A letter of the token is another.
    changed: bool,
    appended: String,
}

fn spelled() -> impl Strategy<Value = Spelled> {
    let before = select(vec![
        "/",
        "//",
        "/%2F",
        "/e/",
        "/E//",
        "/e%2f",
        "/t/acme/",
        "//T//ac%6De/",
        "/t/other/",
        "/t/%zz/",
        "/x/",
    ]);
    let after = select(vec!["/", "//", "%2F", "%2f/"]);
    let appended = prop_oneof![
        Just(String::new()),
        select(APPENDED).prop_map(str::to_owned),
        "[!-~]{1,6}",
    ];
    (
        0..4_usize,
        any::<bool>(),
        before,
        any::<bool>(),
        after,
        any::<bool>(),
        0..8,
        appended,
    )
        .prop_map(
            |(kind, on_edge, before, upper, after, encoded, changed, appended)| Spelled {
                kind,
                host: if on_edge { EDGE } else { CUSTOMER },
                before: before.to_owned(),
                letter: [if upper { "OCUR" } else { "ocur" }.get(kind..=kind).unwrap(), after],
                encoded,
                changed: changed == 0,
                appended,
            },
        )
}

impl Spelled {
    fn path(&self, nth: u128) -> String {
        let message = Message {
            id: Uuid::from_u128(nth),
            ..message()
        };
        let minter = minter("acme");
        let mut text = match self.kind {
            0 => minter.open(&message),
            1 => minter.click(&message, 3, &Destination::new(SHOP).unwrap()),
            2 => minter.unsubscribe(&message, 9),
            _ => SLUG.to_owned(),
        };
        if self.changed {
            let last = text.pop().unwrap();
            text.push(if last == 'A' { 'B' } else { 'A' });
        }
        if self.encoded {
            text = text.replace('-', "%2D").replace('_', "%5f").replace('m', "%6d");
        }
        let [letter, slashes] = self.letter;
        format!("{}{letter}{slashes}{text}{}", self.before, self.appended)
    }
}

/// Whether the edge answers with the link's own answer.
async fn is_answered(edge: &Edge, link: &Spelled, path: &str, nth: u128) -> bool {
    let got = edge.get(Via::H1(Some(link.host)), link.host, path).await;
    match link.kind {
        // All pixels are the same.
        0 => edge
            .events()
            .iter()
            .any(|e| e["message_id"] == Uuid::from_u128(nth).to_string()),
        2 => got.status == StatusCode::OK,
        _ => got.header(LOCATION) == SHOP,
    }
}

fn agree(prefix: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .unwrap();
    let edge = runtime.block_on(async {
        let edge = Edge::with(|s| s.prefix = prefix.to_owned(), |_| {});
        redirects::store(&edge, &[(CUSTOMER, SLUG, SHOP, None)]);
        edge
    });
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let (mut nth, mut valid) = (100, 0);
    let nth = std::cell::RefCell::new((&mut nth, &mut valid));
    TestRunner::new(config)
        .run(&spelled(), |link| {
            let mut counts = nth.borrow_mut();
            *counts.0 += 1;
            let path = link.path(*counts.0);
            // What no client can send.
            if path.parse::<http::Uri>().is_err() {
                return Ok(());
            }
            let answered = runtime.block_on(is_answered(&edge, &link, &path, *counts.0));
            *counts.1 += u32::from(answered);
            for scheme in ["https://", "", "//"] {
                let text = format!("{scheme}{}{path}", link.host);
                let found = inspect(&edge, &text);
                prop_assert_eq!(unwrapped(&text), None);
                prop_assert_eq!(found.valid, answered, "{}: {:?}", text, found);
                prop_assert_eq!(found.valid, found.finding == Finding::Valid);
                if answered && !link.appended.starts_with(['%', '.', '/']) {
                    let ignored = Some(link.appended.as_str()).filter(|a| !a.is_empty());
                    prop_assert_eq!(found.ignored.as_deref(), ignored, "{}", text);
                }
            }
            Ok(())
        })
        .unwrap();
    assert!(valid > 10, "{valid} were right");
}

#[test]
fn the_inspector_and_the_edge_agree() {
    agree("");
}

#[test]
fn the_inspector_and_the_edge_agree_below_a_prefix() {
    agree("/e");
}

#[tokio::test(flavor = "local")]
async fn appended_text_is_reported() {
    let edge = Edge::new();
    for appended in APPENDED {
        let link = click("acme", SHOP);
        let found = inspect(&edge, &format!("https://{CUSTOMER}{link}{appended}"));
        assert_eq!(
            (found.valid, found.ignored.as_deref()),
            (true, Some(*appended)),
            "{found:?}"
        );
    }
    let found = inspect(&edge, &format!("https://{CUSTOMER}{}", click("acme", SHOP)));
    assert_eq!((found.valid, found.ignored), (true, None));
}
