use proptest::prelude::*;

use super::*;

#[test]
fn a_path_may_be_respelled() {
    let click = |tenant| LinkPath {
        kind: LinkKind::Click,
        tenant,
        text: "Ab",
    };
    for path in [
        "/c/Ab",
        "//c/Ab",
        "///c/Ab",
        "/C/Ab",
        "/c%2FAb",
        "%2fc%2fAb",
        "/%2Fc%2F/Ab",
        "/%63/Ab",
        "/%43%2fAb",
        "//%63//Ab",
    ] {
        assert_eq!(LinkPath::parse(path, ""), Some(click(None)), "{path}");
    }
    for path in ["/t/acme/c/Ab", "//t//acme//c//Ab", "/T/acme/C/Ab", "/t/acme//c%2FAb"] {
        assert_eq!(LinkPath::parse(path, ""), Some(click(Some("acme"))), "{path}");
    }
    for path in ["/e/c/Ab", "//e//c/Ab", "/E/C/Ab", "/e%2Fc%2FAb"] {
        assert_eq!(LinkPath::parse(path, "/e"), Some(click(None)), "{path}");
        assert_eq!(LinkPath::parse(path, ""), None, "{path}");
    }
    for path in [
        "",
        "/",
        "*",
        "c/Ab",
        "/cc/Ab",
        "/c",
        "/C",
        "/x/c/Ab",
        "/t/c/Ab",
        "/t//c/Ab",
        "/t/acme/r/x",
        "/é/c",
        "/c%2",
    ] {
        assert_eq!(LinkPath::parse(path, ""), None, "{path}");
    }
}

#[test]
fn what_was_appended_is_cut_and_nothing_else() {
    for (text, token) in [
        ("Ab-_9", None),
        ("", None),
        ("%22", None),
        ("é", None),
        ("Ab.", Some("Ab")),
        ("Ab%22", Some("Ab")),
        ("Ab%C2%A0", Some("Ab")),
        ("Ab%zz", Some("Ab")),
        ("Ab%", Some("Ab")),
        ("Ab%4", Some("Ab")),
        ("Ab/", Some("Ab")),
        ("/Ab", Some("Ab")),
        ("//%2FAb//", Some("Ab")),
        ("Abé", Some("Ab")),
        ("Ab\u{200b}cd", Some("Ab")),
        // Inside the alphabet, however it is written.
        ("Ab%2D", Some("Ab-")),
        ("A%62%5f.", Some("Ab_")),
        ("Ab%253D", Some("Ab")),
    ] {
        assert_eq!(token_in(text).as_deref(), token, "{text}");
    }
    assert_eq!(token_in(&format!("{}.", "a".repeat(MAX_TOKEN_TEXT + 1))), None);
    for (text, slugs) in [
        ("sale", &["sale"][..]),
        ("sale.", &["sale.", "sale"]),
        ("sale..", &["sale..", "sale.", "sale"]),
        ("sale...", &["sale...", "sale..", "sale.", "sale"]),
        (
            "sale......",
            &["sale......", "sale.....", "sale....", "sale...", "sale"],
        ),
        ("s%61le..", &["sale..", "sale.", "sale"]),
        ("sale..%22", &["sale..", "sale.", "sale"]),
        ("sale.%22", &["sale.", "sale"]),
        ("sale,", &["sale"]),
        ("/sale/", &["sale"]),
        ("a.b~c", &["a.b~c"]),
        ("sa%6Ce", &["sale"]),
        ("..", &[]),
        ("%20", &[]),
    ] {
        assert_eq!(slugs_in(text).collect::<Vec<_>>(), slugs, "{text}");
    }
}

#[test]
fn a_tenant_may_be_written_in_any_way() {
    for (text, tenant) in [
        ("acme", Some("acme")),
        ("a%20b%2Fc", Some("a b/c")),
        ("k%C3%B6", Some("kö")),
        ("a%", None),
        ("a%2", None),
        ("a%zz", None),
        ("%ff", None),
    ] {
        assert_eq!(decoded(text).as_deref(), tenant, "{text}");
    }
}

proptest! {
    #[test]
    fn any_decoration_outside_the_alphabet_is_cut(token in "[A-Za-z0-9_-]{1,60}", between in "[^A-Za-z0-9_%-]|%[0189a-fA-F]|%(2[0-9a-cA-Ce-fE-F]|3[a-fA-F]|[0189a-fA-F][0-9a-fA-F])", rest in "\\PC{0,20}") {
        let written = format!("{token}{between}{rest}");
        // `%8` with a hex digit after it is a byte, and outside as well.
        let found = token_in(&written);
        prop_assert_eq!(found.as_deref(), Some(token.as_str()), "{}", written);
    }

    #[test]
    fn nothing_panics(path in "\\PC{0,40}", prefix in "(/[a-z]{1,5})?") {
        let _ = LinkPath::parse(&path, &prefix);
        let _ = token_in(&path);
        let _ = slugs_in(&path).count();
        let _ = decoded(&path);
    }
}
