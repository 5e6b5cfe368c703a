use super::*;

fn refused<T: FromStr>(texts: &[&str]) {
    for text in texts {
        assert!(text.parse::<T>().is_err(), "{text} was accepted");
    }
}

#[test]
fn spans() {
    for (text, secs) in [
        ("10s", 10),
        ("72h", 259_200),
        ("7d", 604_800),
        ("1h 30m", 5400),
        ("0s", 0),
    ] {
        assert_eq!(text.parse::<ConfigDuration>().unwrap().as_secs(), secs, "{text}");
    }
    assert_eq!("7d".parse::<ConfigDuration>().unwrap().to_string(), "168h");
    assert_eq!("1500ms".parse::<ConfigDuration>().unwrap().to_string(), "1s 500ms");
    refused::<ConfigDuration>(&["", "10", "-1s", "10 parsecs", "1000y"]);
}

#[test]
fn sizes() {
    for (text, bytes) in [("10GiB", 10 << 30), ("1 kB", 1000), ("0B", 0), ("512B", 512)] {
        assert_eq!(text.parse::<ByteSize>().unwrap().bytes(), bytes, "{text}");
    }
    assert_eq!(ByteSize::gib(10).to_string(), "10GiB");
    refused::<ByteSize>(&["", "10", "GiB", "10 gigs", "-1B", "99999999999TiB"]);
}

#[test]
fn limits() {
    let limit: Limit = "300/3h".parse().unwrap();
    assert_eq!((limit.count, limit.per.as_secs()), (300, 10_800));
    assert_eq!(limit.to_string(), "300/3h");
    refused::<Limit>(&["300", "0/1h", "5/0s", "5/", "/1h", "-1/1h"]);
}

#[test]
fn urls_and_paths() {
    assert!("https://ca.example/dir".parse::<HttpUrl>().unwrap().is_https());
    assert!("http://[::1]:80".parse::<HttpUrl>().unwrap().is_loopback());
    refused::<HttpUrl>(&[
        "",
        "/x",
        "ftp://a.example",
        "https://u:p@a.example/",
        "https://",
        "a.example:80",
    ]);
    for text in ["", "/e", "/a/b"] {
        assert!(text.parse::<LinkPrefix>().is_ok(), "{text}");
    }
    refused::<LinkPrefix>(&["e", "/", "/e/", "/a//b", "/a/../b", "/.well-known/x", "/e?x"]);
    refused::<PathPrefix>(&["", "track", "/a b", "/a#b"]);
}

#[test]
fn networks_names_and_labels() {
    for (text, address) in [
        ("10.0.0.5", "10.0.0.5:80"),
        ("[fd00::5]:8080", "[fd00::5]:8080"),
        ("fd00::5", "[fd00::5]:80"),
    ] {
        assert_eq!(text.parse::<HttpProbeAddr>().unwrap().to_string(), address);
    }
    refused::<HttpProbeAddr>(&["", "x", "10.0.0.5:0", "10.0.0.5:x"]);
    assert_eq!("10.0.0.1".parse::<Network>().unwrap().to_string(), "10.0.0.1/32");
    refused::<Network>(&["10.0.0.0/33", "x"]);
    assert_eq!(
        "_SPF.Platform.example.".parse::<DnsName>().unwrap().as_str(),
        "_spf.platform.example"
    );
    refused::<DnsName>(&["", "a", "a b.example", "bücher.example"]);
    refused::<Label>(&["", "-a", "a/b", "a b"]);
    refused::<Tenant>(&["", "a/b", "a\nb", &"x".repeat(254)]);
    assert_eq!("a b".parse::<Tenant>().unwrap().as_str(), "a b");
}
