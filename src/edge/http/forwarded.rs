//! What a CDN in front says of the connection it took.

use http::HeaderMap;
use http::header::FORWARDED;

/// Headers that hold the client's scheme, the client's own first: the de-facto one and CloudFront's.
const PROTO: [&str; 2] = ["x-forwarded-proto", "cloudfront-forwarded-proto"];

/// Whether a CDN took a request over HTTPS and hands it on over HTTP: a redirect to HTTPS would come
/// back the same way. Anyone can say so; who does is served as over HTTP before the certificate.
pub(super) fn came_over_https(headers: &HeaderMap) -> bool {
    let said = |name| headers.get(name).and_then(|v| v.to_str().ok());
    let proto = PROTO.iter().filter_map(|name| said(*name));
    let mut first = proto.filter_map(|v| v.split(',').next());
    first.any(|v| v.trim().eq_ignore_ascii_case("https"))
        || said("cf-visitor").is_some_and(is_cf_https)
        || said(FORWARDED.as_str()).is_some_and(is_forwarded_https)
}

/// Cloudflare: `{"scheme":"https"}`.
fn is_cf_https(value: &str) -> bool {
    let visitor: Option<serde_json::Value> = serde_json::from_str(value).ok();
    visitor.is_some_and(|v| v.get("scheme").and_then(|s| s.as_str()) == Some("https"))
}

/// RFC 7239 §5.4: the first element is the client's.
fn is_forwarded_https(value: &str) -> bool {
    let pairs = value.split(',').next().unwrap_or_default().split(';');
    pairs.filter_map(|pair| pair.split_once('=')).any(|(name, value)| {
        name.trim().eq_ignore_ascii_case("proto") && value.trim().trim_matches('"').eq_ignore_ascii_case("https")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cdn_says_how_it_was_asked() {
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
            ("x-other", "https", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(came_over_https(&headers), https, "{name}: {value}");
        }
    }
}
