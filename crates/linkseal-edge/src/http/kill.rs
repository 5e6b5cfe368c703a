//! Where a kill switch holds: a warning instead of a redirect ([`linkseal_domain::links::KillSwitches`]).

use http::header::LOCATION;
use http::{StatusCode, response};
use linkseal_link::{Destination, KillKind, decoded};
use uuid::Uuid;

use super::pages::{killed, language};
use super::reply::{self, Reply};
use super::respond::Exchange;

/// Which switch holds a link. `message`: `None` for a stored redirect.
pub(super) fn hit(
    x: &Exchange<'_>,
    tenant: &str,
    message: Option<Uuid>,
    destination: &Destination<'_>,
) -> Option<KillKind> {
    x.session.context.kills.hit(tenant, message, destination)
}

/// The warning: 410, as the link will not come back by itself. It leads nowhere, least of all to
/// where the link did.
pub(super) fn warning(x: &Exchange<'_>) -> Reply {
    reply::page(StatusCode::GONE, &killed(language(x.headers)))
}

/// Whether a back end's response leads to where a switch forbids: its own links go on to be followed
/// through this edge. What stays on the host is held by nothing.
pub(super) fn holds(x: &Exchange<'_>, response: &response::Parts) -> bool {
    // Of several, clients take the one or the other.
    let mut locations = response.headers.get_all(LOCATION).iter();
    response.status.is_redirection()
        && locations.any(|location| {
            let url = origin(&String::from_utf8_lossy(location.as_bytes()));
            let destination = url.as_deref().and_then(|url| Destination::new(url).ok());
            destination.is_some_and(|destination| {
                !destination.has_host(x.entry.name.as_str()) && hit(x, x.entry.tenant(), None, &destination).is_some()
            })
        })
}

/// Where browsers go for a `Location`, without path (WHATWG URL standard, "URL parsing"). `None`: it
/// stays on the host, or is of another scheme.
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
    // Browsers take signs that no destination may have; a host above is the same without them.
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
