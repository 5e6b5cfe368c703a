//! Whether a back end's redirect leads to what a kill switch forbids.

use http::header::LOCATION;
use http::response;
use linkseal_link::{Destination, decoded};

use crate::http::exchange::Exchange;

/// Whether a kill switch applies to a back end's redirect: the back end's own links are followed through
/// this edge. Redirects within the host are always passed on.
pub(super) fn is_killed(x: &Exchange<'_>, response: &response::Parts) -> bool {
    // Of several, clients may take any.
    let mut locations = response.headers.get_all(LOCATION).iter();
    response.status.is_redirection()
        && locations.any(|location| {
            let url = origin(&String::from_utf8_lossy(location.as_bytes()));
            let destination = url.as_deref().and_then(|url| Destination::new(url).ok());
            destination.is_some_and(|destination| {
                !destination.has_host(x.entry.name.as_str())
                    && x.kill_switch(x.entry.tenant(), None, &destination).is_some()
            })
        })
}

/// The origin that browsers go to for a `Location` (WHATWG URL standard, "URL parsing"). `None` if it
/// stays on the host or has another scheme.
fn origin(location: &str) -> Option<String> {
    let plain: String = location.chars().filter(|c| !c.is_control()).collect();
    let plain = plain.trim().replace('\\', "/");
    let scheme = ["https:", "http:"].into_iter().find(|scheme| {
        let start = plain.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let rest = plain.get(scheme.map_or(0, str::len)..)?;
    if scheme.is_none() && !rest.starts_with("//") {
        return None;
    }
    let authority = rest.trim_start_matches('/').split(['/', '?', '#']).next()?;
    let host = decoded(authority.rsplit('@').next()?)?;
    // Browsers accept characters that a destination may not have; a parent domain is the same without them.
    let odd = |c: char| c.is_ascii_punctuation() && !matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    Some(format!("https://{}/", host.replace(odd, "-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_browsers_go() {
        for location in [
            "https://evil.example/x?y",
            "HTTP://evil.example#z",
            "//evil.example/",
            "/\\evil.example/",
            "\\\\evil.example",
            "https:/evil.example/",
            "https:evil.example",
            " https:///evil.example",
            "https://good.example@evil.example/",
            "https://%65vil.example/",
            "ht\ttps://evil.example/",
        ] {
            assert_eq!(origin(location).as_deref(), Some("https://evil.example/"), "{location}");
        }
        assert_eq!(
            origin("https://a!b.evil.example/").as_deref(),
            Some("https://a-b.evil.example/")
        );
        for location in [
            "/evil.example",
            "evil.example",
            "?https://evil.example/",
            "mailto:a@evil.example",
            "",
        ] {
            assert_eq!(origin(location), None, "{location}");
        }
    }
}
