//! The security headers of every page.

use http::HeaderValue;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use linkseal_config::pages::Origin;

/// Everything is loaded from files of this server, so that injected scripts and styles do not run.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors";

/// Only the clipboard is needed, for the copy buttons.
const FEATURES: &str = "accelerometer=(), camera=(), clipboard-write=(self), display-capture=(), geolocation=(), \
                        gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), usb=()";

/// Sets the headers of a page. `framed_by`: the origins that may embed it in a frame.
pub(super) fn set(headers: &mut HeaderMap, framed_by: &[Origin]) {
    let mut fixed = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    fixed(CACHE_CONTROL, "no-store");
    fixed(X_CONTENT_TYPE_OPTIONS, "nosniff");
    // Keeps share links from leaking. With `no-referrer`, browsers would send `Origin: null` with forms.
    fixed(REFERRER_POLICY, "same-origin");
    fixed(HeaderName::from_static("permissions-policy"), FEATURES);
    fixed(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    fixed(HeaderName::from_static("x-robots-tag"), "noindex, nofollow");
    if framed_by.is_empty() {
        fixed(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
        // For browsers without frame-ancestors.
        fixed(X_FRAME_OPTIONS, "DENY");
    }
    let ancestors = match framed_by {
        [] => "'none'".to_owned(),
        some => some.iter().map(Origin::as_str).collect::<Vec<_>>().join(" "),
    };
    // The configuration only accepts ASCII origins.
    if let Ok(policy) = HeaderValue::try_from(format!("{POLICY} {ancestors}")) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
}
