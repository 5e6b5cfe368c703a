//! What every page tells the browser not to do.

use http::HeaderValue;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use linkseal_config::pages::Origin;

/// Everything comes from this server, in files: a page that was made to hold another's
/// script or style does not run it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors";

/// Nothing of this is needed but the clipboard, for the buttons that copy a record.
const FEATURES: &str = "accelerometer=(), camera=(), clipboard-write=(self), display-capture=(), geolocation=(), \
                        gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), usb=()";

/// Sets the headers of a page. `framed_by`: the origins whose pages may hold it in a frame.
pub(super) fn set(headers: &mut HeaderMap, framed_by: &[Origin]) {
    let mut fixed = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    fixed(CACHE_CONTROL, "no-store");
    fixed(X_CONTENT_TYPE_OPTIONS, "nosniff");
    // A share link must not get out; with `no-referrer` browsers would send `Origin: null` with our own forms.
    fixed(REFERRER_POLICY, "same-origin");
    fixed(HeaderName::from_static("permissions-policy"), FEATURES);
    fixed(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    fixed(HeaderName::from_static("x-robots-tag"), "noindex, nofollow");
    if framed_by.is_empty() {
        fixed(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
        // For browsers that do not know frame-ancestors.
        fixed(X_FRAME_OPTIONS, "DENY");
    }
    let ancestors = match framed_by {
        [] => "'none'".to_owned(),
        some => some.iter().map(Origin::as_str).collect::<Vec<_>>().join(" "),
    };
    // The origins were checked with the configuration: they are ASCII.
    if let Ok(policy) = HeaderValue::try_from(format!("{POLICY} {ancestors}")) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
}
