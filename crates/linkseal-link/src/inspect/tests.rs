use proptest::prelude::*;

use super::*;
use crate::key::LinkKey;
use crate::mint::{Message, Minter, url};
use crate::pasted::Place;

fn keys() -> LinkKeys {
    LinkKeys::new([LinkKey::from_hex(1, &"07".repeat(32)).unwrap()]).unwrap()
}

fn click(key_id: u8, tenant: &str) -> String {
    let key = LinkKey::from_hex(key_id, &"07".repeat(32)).unwrap();
    let message = Message {
        id: Uuid::from_u128(7),
        issued_at: 1_795_305_600,
    };
    let token = Minter::new(&key, tenant).click(&message, 3, &Destination::new("https://example.com/x").unwrap());
    url("https://links.customer.example", Kind::Click, &token)
}

#[test]
fn a_valid_link_shows_its_content() {
    let found = explain(
        &format!(" <{}?utm_source=x> ", click(1, "former")),
        None,
        &keys(),
        &["acme", "former"],
        [],
    );
    assert!(found.valid, "{found:?}");
    assert_eq!(
        (found.kind, found.key_id, found.link),
        (Some(Kind::Click), Some(1), Some(3))
    );
    assert_eq!(found.destination.as_deref(), Some("https://example.com/x"));
    assert_eq!(
        (found.tenant.as_deref(), found.host.as_deref()),
        (Some("former"), Some("links.customer.example"))
    );
    assert_eq!(
        serde_json::to_value(&found).unwrap()["issued_at"],
        "2026-11-22T00:00:00Z"
    );
}

#[test]
fn what_is_wrong_is_named() {
    let right = click(1, "acme");
    let keys = keys();
    let finding = |text: &str| explain(text, None, &keys, &["acme"], ["other"]).finding;
    assert_eq!(finding(&right), Finding::Valid);
    assert_eq!(finding(right.rsplit('/').next().unwrap()), Finding::Valid);
    assert_eq!(finding(""), Finding::NoToken);
    assert_eq!(finding("https://links.customer.example/"), Finding::NoToken);
    assert_eq!(finding("https://links.customer.example/pricing"), Finding::NoToken);
    assert_eq!(finding(&format!("{right}=")), Finding::Valid);
    assert_eq!(finding(&format!("{right}.")), Finding::Valid);
    assert_eq!(finding(&format!("{right}%22%3E")), Finding::Valid);
    assert_eq!(finding(&format!("{right}A")), Finding::Forged);
    assert_eq!(finding("EQFrAjCAAZLzpLXGfY6f"), Finding::Length);
    assert_eq!(finding("hello"), Finding::Spelling);
    assert_eq!(finding(&"AAAA".repeat(20)), Finding::Format);
    assert_eq!(finding(&right.replace("/c/", "/u/")), Finding::WrongPath);
    assert_eq!(finding(&click(2, "acme")), Finding::UnknownKey);
    assert_eq!(finding(&click(1, "other")), Finding::OtherTenant);
    assert_eq!(finding(&click(1, "nobody")), Finding::Forged);
    keys.revoke(1);
    assert_eq!(finding(&right), Finding::RevokedKey);
}

fn served(place: Place) -> Served<'static> {
    Served {
        now: 1_795_305_660,
        max_age: None,
        prefix: "",
        place,
        is_served: None,
        kills: None,
    }
}

#[test]
fn a_valid_link_that_the_edge_refuses_says_why() {
    let right = click(1, "acme");
    let keys = keys();
    let look =
        |text: &str, served: &Served<'_>| explain(text, None, &keys, &["acme"], ["other"]).as_served(text, served);
    let finding = |text: &str, served: &Served<'_>| {
        let found = look(text, served);
        assert_eq!(found.valid, found.finding == Finding::Valid, "{found:?}");
        assert!(!found.explanation.is_empty());
        found.finding
    };
    let domain = served(Place::Domain);
    for place in [Place::Domain, Place::Edge, Place::Unknown] {
        let found = look(&right, &served(place));
        assert_eq!(found.finding, Finding::Valid);
        assert_eq!(found.destination.as_deref(), Some("https://example.com/x"));
    }
    assert_eq!(finding(&right, &served(Place::Nowhere)), Finding::WrongHost);
    let other = look(&click(1, "other"), &served(Place::Nowhere));
    assert!(other.explanation.contains("tenant other"), "{other:?}");
    assert_eq!(finding(&click(1, "other"), &domain), Finding::OtherTenant);
    // Its place.
    let below = |parent: &str| right.replace("/c/", &format!("{parent}/c/"));
    assert_eq!(finding(&below("/t/acme"), &domain), Finding::WrongPath);
    assert_eq!(finding(&below("/t/acme"), &served(Place::Edge)), Finding::Valid);
    assert_eq!(finding(&below("/x"), &served(Place::Edge)), Finding::WrongPath);
    let prefixed = Served {
        prefix: "/e",
        ..served(Place::Domain)
    };
    assert_eq!(finding(&below("/e"), &prefixed), Finding::Valid);
    assert_eq!(finding(&right, &prefixed), Finding::WrongPath);
    assert_eq!(finding(right.rsplit('/').next().unwrap(), &prefixed), Finding::Valid);
    // Its age.
    let aged = |secs| Served {
        max_age: Some(Duration::from_secs(secs)),
        ..served(Place::Domain)
    };
    assert_eq!(finding(&right, &aged(60)), Finding::Valid);
    assert_eq!(finding(&right, &aged(59)), Finding::TooOld);
    // Its destination.
    let on_itself = right.replace("links.customer.example", "EXAMPLE.com:443");
    assert_eq!(finding(&on_itself, &domain), Finding::Circle);
    let kills = |_: &str, _: Option<Uuid>, to: &Destination<'_>| (to.host() == "example.com").then_some(KillKind::Host);
    let killing = Served {
        kills: Some(&kills),
        ..served(Place::Domain)
    };
    let found = look(&right, &killing);
    assert_eq!((found.finding, found.killed), (Finding::Killed, Some(KillKind::Host)));
    assert_eq!(finding(&click(1, "nobody"), &killing), Finding::Forged);
}

#[test]
fn a_stored_redirect_is_explained_by_what_is_stored() {
    let text = "https://links.customer.example/r/sale?x";
    let keys = keys();
    let found = explain(text, None, &keys, &["acme"], []);
    assert_eq!(
        (found.finding, found.slug.as_deref()),
        (Finding::StoredRedirect, Some("sale"))
    );
    let here = served(Place::Domain);
    let stored = |text: &str, stored: Option<(&str, Option<u64>)>, served: &Served<'_>| {
        explain(text, None, &keys, &["acme"], [])
            .as_served(text, served)
            .as_stored(text, stored.map(|(url, at)| ("sale", url, at)), "acme", served)
    };
    let url = "https://shop.example/";
    let valid = stored(text, Some((url, None)), &here);
    assert!(valid.valid && valid.destination.as_deref() == Some(url) && valid.tenant.as_deref() == Some("acme"));
    assert_eq!(stored(text, None, &here).finding, Finding::UnknownRedirect);
    let expired = stored(text, Some((url, Some(here.now))), &here);
    assert_eq!((expired.valid, expired.finding), (false, Finding::ExpiredRedirect));
    assert_eq!(
        stored(text, Some((url, None)), &served(Place::Nowhere)).finding,
        Finding::WrongHost
    );
    let own = stored(text, Some(("https://links.customer.example/x", None)), &here);
    assert_eq!(own.finding, Finding::Circle);
    // A stored redirect to a link on another domain of this edge.
    let is_served = |host: &str| host == "links.other.example";
    let knowing = Served {
        is_served: Some(&is_served),
        ..served(Place::Domain)
    };
    for (url, finding) in [
        ("https://Links.other.example/r/x", Finding::Circle),
        ("https://links.other.example//C%2Fx", Finding::Circle),
        ("https://links.other.example/pricing", Finding::Valid),
        ("https://shop.example/r/x", Finding::Valid),
    ] {
        let found = stored(text, Some((url, None)), &knowing);
        assert_eq!(
            (found.valid, found.finding),
            (finding == Finding::Valid, finding),
            "{url}"
        );
        assert_eq!(
            found.explanation.contains("links.other.example"),
            finding == Finding::Circle
        );
    }
    assert_eq!(
        stored("https://a.example/r/%20b", None, &here).finding,
        Finding::Spelling
    );
    let kills = |tenant: &str, _: Option<Uuid>, _: &Destination<'_>| (tenant == "acme").then_some(KillKind::Tenant);
    let killing = Served {
        kills: Some(&kills),
        ..served(Place::Domain)
    };
    assert_eq!(stored(text, Some((url, None)), &killing).killed, Some(KillKind::Tenant));
}

#[test]
fn the_damage_is_guessed() {
    let explained = |text: &str| explain(text, None, &keys(), &["acme"], []).explanation;
    assert!(explained(&format!("{}=", click(1, "acme"))).contains("equals sign"));
    assert!(explained(&format!("{}),", click(1, "acme"))).contains("punctuation"));
    // A lower-cased open token keeps its length but not its first byte.
    assert!(explained(&click(1, "acme").to_ascii_lowercase()).contains("one case"));
}

proptest! {
    #[test]
    fn nothing_pasted_panics(text in "(https?://)?\\PC{0,120}") {
        prop_assert!(!explain(&text, None, &keys(), &["acme"], ["other"]).valid);
    }
}
