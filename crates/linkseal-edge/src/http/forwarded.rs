//! Whether a CDN in front took the request over HTTPS.

use http::HeaderMap;
use http::header::FORWARDED;

/// Headers with a list of schemes, the client's first: the de-facto standard, CloudFront's, and those of
/// common proxies.
const SCHEMES: [&str; 6] = [
    "x-forwarded-proto",
    "cloudfront-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-protocol",
    "x-scheme",
    "x-url-scheme",
];
/// Headers that are present, and not off, if the client used TLS: of proxies, IIS and Fastly.
const FLAGS: [&str; 4] = ["x-forwarded-ssl", "front-end-https", "fastly-ssl", "x-arr-ssl"];
const OFF: [&str; 5] = ["", "off", "0", "false", "no"];

/// Whether a CDN took a request over HTTPS and passes it on over HTTP: a redirect to HTTPS would loop. Any
/// client can claim it, and is then served as over HTTP while a certificate is pending. A header may have
/// several lines, each from another proxy: one is enough.
pub(super) fn came_over_https(headers: &HeaderMap) -> bool {
    let says = |name: &str, is: fn(&str) -> bool| headers.get_all(name).iter().any(|v| v.to_str().is_ok_and(is));
    SCHEMES.iter().any(|name| says(name, is_https))
        || FLAGS.iter().any(|name| says(name, is_on))
        || says("cf-visitor", is_cf_https)
        || says(FORWARDED.as_str(), is_forwarded_https)
}

fn is_https(value: &str) -> bool {
    let first = value.split(',').next().unwrap_or_default();
    unquoted(first).eq_ignore_ascii_case("https")
}

fn is_on(value: &str) -> bool {
    let first = value.split(',').next().unwrap_or_default();
    !OFF.iter().any(|off| unquoted(first).eq_ignore_ascii_case(off))
}

fn unquoted(value: &str) -> &str {
    value.trim().trim_matches('"').trim()
}

/// Cloudflare: `{"scheme":"https"}`, which proxies in between may have quoted again.
fn is_cf_https(value: &str) -> bool {
    let plain: String = value
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | ','))
        .collect();
    plain.split(',').any(|pair| pair.eq_ignore_ascii_case("scheme:https"))
}

/// RFC 7239 §5.4: the first element is the client's.
fn is_forwarded_https(value: &str) -> bool {
    let first = outside_quotes(value, ',').next().unwrap_or_default();
    outside_quotes(first, ';')
        .filter_map(|pair| pair.split_once('='))
        .any(|(name, value)| name.trim().eq_ignore_ascii_case("proto") && unquoted(value).eq_ignore_ascii_case("https"))
}

/// The parts between separators that are not in a quoted string (RFC 9110 §5.6.4).
fn outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let literal = std::mem::take(&mut escaped);
        match c {
            '\\' if quoted && !literal => escaped = true,
            '"' if !literal => quoted = !quoted,
            _ => return c == separator && !quoted,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_and_flags_of_cdns_are_read() {
        for (name, value, https) in [
            ("x-forwarded-proto", "https", true),
            ("x-forwarded-proto", "HTTPS, http", true),
            ("x-forwarded-proto", "http", false),
            ("x-forwarded-proto", "http, https", false),
            ("cloudfront-forwarded-proto", "https", true),
            ("cf-visitor", r#"{"scheme":"https"}"#, true),
            ("cf-visitor", r#"{ "scheme" : "https" }"#, true),
            ("cf-visitor", r#"{"scheme":"http"}"#, false),
            ("cf-visitor", "https", false),
            (
                "forwarded",
                "for=192.0.2.1;Proto=\"https\", for=10.0.0.1;proto=http",
                true,
            ),
            ("forwarded", "for=192.0.2.1;proto=http", false),
            ("forwarded", "for=\"a,b\";proto=https", true),
            ("forwarded", "for=\"a;b\\\",c\";proto=https, proto=http", true),
            ("forwarded", "for=\"a;proto=https\";proto=http", false),
            ("forwarded", "for=\"a", false),
            ("x-forwarded-proto", "\"https\"", true),
            ("x-forwarded-proto", " https ", true),
            ("x-forwarded-scheme", "https", true),
            ("x-forwarded-protocol", "https", true),
            ("x-scheme", "https", true),
            ("x-url-scheme", "https", true),
            ("x-url-scheme", "http", false),
            ("x-forwarded-ssl", "on", true),
            ("x-forwarded-ssl", "off", false),
            ("front-end-https", "On", true),
            ("front-end-https", "", false),
            ("fastly-ssl", "1", true),
            ("fastly-ssl", "0", false),
            ("x-arr-ssl", "2048|256|CN=x", true),
            ("cf-visitor", r#"{"scheme":"HTTPS"}"#, true),
            ("cf-visitor", r#"{"Scheme":"https"}"#, true),
            ("cf-visitor", r#""{\"scheme\":\"https\"}""#, true),
            ("cf-visitor", "{'scheme':'https','a':1}", true),
            ("x-other", "https", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(came_over_https(&headers), https, "{name}: {value}");
        }
    }

    #[test]
    fn one_line_of_several_is_enough() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-proto", "http".parse().unwrap());
        assert!(!came_over_https(&headers));
        headers.append("x-forwarded-proto", "https".parse().unwrap());
        assert!(came_over_https(&headers));
    }
}
