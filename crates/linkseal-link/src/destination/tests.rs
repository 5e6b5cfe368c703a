use proptest::prelude::*;

use super::*;

#[test]
fn what_may_be_a_destination() {
    for (text, host) in [
        ("https://example.com", "example.com"),
        ("https://example.com/a/b?x=%2F#f", "example.com"),
        ("HTTP://Example.COM:8080/", "Example.COM"),
        ("http://example.com?q=a@b", "example.com"),
        ("http://example.com/a@b\\c d", "example.com"),
        ("http://[2001:db8::1]:80/", "[2001:db8::1]"),
        ("http://192.0.2.1/", "192.0.2.1"),
        ("https://bücher.example/", "bücher.example"),
        ("https://example.com:/", "example.com"),
    ] {
        assert_eq!(Destination::new(text).map(|d| d.host()), Ok(host), "{text}");
    }
}

#[test]
fn what_may_not_and_why() {
    let long = format!("https://example.com/{}", "a".repeat(MAX_DESTINATION));
    for (text, why) in [
        ("", DestinationError::Length),
        (long.as_str(), DestinationError::Length),
        ("example.com", DestinationError::Scheme),
        ("//example.com", DestinationError::Scheme),
        ("javascript:alert(1)", DestinationError::Scheme),
        ("javascript://example.com/%0aalert(1)", DestinationError::Scheme),
        ("data:text/html,x", DestinationError::Scheme),
        ("https:example.com", DestinationError::Scheme),
        ("\u{a0}https://example.com", DestinationError::Scheme),
        (" \t ", DestinationError::Length),
        ("https://user@example.com/", DestinationError::UserInfo),
        ("https://user:pw@example.com/", DestinationError::UserInfo),
        ("https://good.example\\@evil.example/", DestinationError::UserInfo),
        ("https://good.example\\.evil.example/", DestinationError::Host),
        ("https://good.example%2f.evil.example/", DestinationError::Host),
        ("https://", DestinationError::Host),
        ("https:///path", DestinationError::Host),
        ("https://?q", DestinationError::Host),
        ("https://.", DestinationError::Host),
        ("https://:443/", DestinationError::Host),
        ("https://a b/", DestinationError::Host),
        ("https://example.com:x/", DestinationError::Host),
        ("https://good.example\u{ff0f}.evil.example/", DestinationError::Host),
        ("https://good\u{ff20}evil.example/", DestinationError::Host),
        ("http://\u{fe72}-/", DestinationError::Host),
        ("https://\u{ad}/", DestinationError::Host),
        ("https://example.com:65536/", DestinationError::Host),
        ("https://example.com:+1/", DestinationError::Host),
        ("https://[::1/", DestinationError::Host),
        ("https://[::1]x/", DestinationError::Host),
        ("https://[[::1]:80/", DestinationError::Host),
        ("https://[::1]]:80/", DestinationError::Host),
        ("https://256.0.0.1/", DestinationError::Host),
        ("https://1.2.3.4.5/", DestinationError::Host),
        ("https://example.09/", DestinationError::Host),
        (
            "https://example.com/\r\nSet-Cookie: a=b",
            DestinationError::ControlCharacter,
        ),
        ("https://example.com/\u{7f}", DestinationError::ControlCharacter),
        ("https://example.com/\u{85}", DestinationError::ControlCharacter),
        ("https://exam\tple.com/", DestinationError::ControlCharacter),
    ] {
        assert_eq!(Destination::new(text), Err(why), "{text}");
    }
    assert_eq!(
        Destination::from_bytes(b"https://example.com/\xff"),
        Err(DestinationError::NotUtf8)
    );
}

#[test]
fn a_location_is_ascii() {
    for (text, location) in [
        ("https://example.com/a?b#c", "https://example.com/a?b#c"),
        (
            "https://example.com/ünï?q=日 x",
            "https://example.com/%C3%BCn%C3%AF?q=%E6%97%A5%20x",
        ),
        (
            "https://bücher.example:8443/ä",
            "https://xn--bcher-kva.example:8443/%C3%A4",
        ),
    ] {
        assert_eq!(Destination::new(text).unwrap().location(), location);
    }
}

#[test]
fn blanks_around_a_destination_are_no_part_of_it() {
    for text in [
        " https://example.com/a b",
        "https://example.com/a b ",
        "\r\n\thttps://example.com/a b\u{c} \n",
    ] {
        let destination = Destination::new(text).unwrap();
        assert_eq!(destination.as_str(), "https://example.com/a b");
        assert_eq!(destination.location(), "https://example.com/a%20b");
    }
    // Browsers keep this one.
    let other = Destination::new("https://example.com/ok\u{a0}").unwrap();
    assert_eq!(other.location(), "https://example.com/ok%C2%A0");
    let longest = format!("  https://example.com/{}  ", "a".repeat(MAX_DESTINATION - 20));
    assert!(Destination::new(&longest).is_ok());
}

#[test]
fn a_location_is_a_uri_reference() {
    for (text, location) in [
        (
            "https://a.example/f[0]?f[0]=themes:2#f[0]",
            "https://a.example/f%5B0%5D?f[0]=themes:2#f[0]",
        ),
        (
            "https://a.example/{b}|c?t={{x}}#{y}",
            "https://a.example/%7Bb%7D%7Cc?t=%7B%7Bx%7D%7D#%7By%7D",
        ),
        (
            "https://a.example/?q=\"a\"<b>^`\\",
            "https://a.example/?q=%22a%22%3Cb%3E%5E%60%5C",
        ),
        (
            "https://a.example/a\\b\\?c\\d#e\\f",
            "https://a.example/a/b/?c%5Cd#e%5Cf",
        ),
        (
            "https://a.example/100%off?x=%&y=%2&z=%zz#%",
            "https://a.example/100%25off?x=%25&y=%252&z=%25zz#%25",
        ),
        (
            "https://a.example/a%20b+c?x=1+1&y=%2B%2f",
            "https://a.example/a%20b+c?x=1+1&y=%2B%2f",
        ),
        (
            "https://a.example/files/App (1).png?q=a+b c",
            "https://a.example/files/App%20(1).png?q=a+b%20c",
        ),
        ("https://a.example/#a#b", "https://a.example/#a%23b"),
        ("https://a.example?a?b/c", "https://a.example?a?b/c"),
        (
            "https://a.example/käse?q=日本 🎉#fräg",
            "https://a.example/k%C3%A4se?q=%E6%97%A5%E6%9C%AC%20%F0%9F%8E%89#fr%C3%A4g",
        ),
        ("http://0xcb007105:8080/x", "http://203.0.113.5:8080/x"),
        ("http://２０３.0.113.5/{", "http://203.0.113.5/%7B"),
        ("http://[2001:DB8::5]/", "http://[2001:DB8::5]/"),
    ] {
        assert_eq!(Destination::new(text).unwrap().location(), location, "{text}");
    }
}

#[test]
fn spellings_of_one_host_are_one() {
    for text in [
        "https://xn--bcher-kva.example/",
        "https://XN--bcher-KVA.example./",
        "https://bücher.example:1/",
        "https://BÜCHER。example。/",
    ] {
        assert!(
            Destination::new(text).unwrap().has_host("xn--bcher-kva.example"),
            "{text}"
        );
    }
    assert!(!Destination::new("https://example.com").unwrap().has_host("example.org"));
}

proptest! {
    #[test]
    fn nothing_panics_and_a_location_is_a_header(text in "(https?://)?\\PC{0,60}") {
        if let Ok(d) = Destination::new(&text) {
            prop_assert!(http::HeaderValue::from_str(&d.location()).is_ok());
            prop_assert!(d.location().bytes().all(|b| b.is_ascii_graphic()));
            prop_assert!(!d.host().is_empty());
        }
    }
}
