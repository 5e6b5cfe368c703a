//! Parses what people paste: a URL with or without a scheme, a path, or a bare token. [`LinkPath`] then
//! reads the path as the edge does.

use std::borrow::Cow;

use super::host::to_ascii;
use super::path::{LinkPath, decoded, token_in};
use super::token::Token;

/// What the host of a link is to an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The text has no host, or the domains of the edge are not known here.
    Unknown,
    /// edge.name or one of its aliases.
    Edge,
    /// A served domain.
    Domain,
    /// A host that the edge does not serve.
    Nowhere,
}

/// A pasted URL, path or bare token.
pub struct Pasted<'a> {
    authority: Option<&'a str>,
    /// Without query and fragment; a bare token has none.
    path: Option<Cow<'a, str>>,
    /// A bare token with whatever was appended to it; empty if there is a path.
    bare: &'a str,
    /// Query and fragment, which the edge ignores.
    tail: &'a str,
}

impl<'a> Pasted<'a> {
    /// Parses a text.
    pub fn of(text: &'a str) -> Self {
        let text = unquoted(text);
        if let Some((scheme, rest)) = text.split_once("://")
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        {
            return Self::with_authority(rest);
        }
        let (head, tail) = split(text, &['?', '#']);
        let first = split(head, &['/']).0;
        let bare = !head.contains('/') || is_token(first);
        if bare {
            return Self {
                authority: None,
                path: None,
                bare: head,
                tail,
            };
        }
        // `//host/path` has no scheme either; `//c/…` is a path.
        let rest = text.strip_prefix("//").unwrap_or(text);
        if split(rest, &['/']).0.contains('.') {
            return Self::with_authority(rest);
        }
        let path = match head.starts_with('/') {
            true => Cow::Borrowed(head),
            false => format!("/{head}").into(),
        };
        Self {
            authority: None,
            path: Some(path),
            bare: "",
            tail,
        }
    }

    fn with_authority(rest: &'a str) -> Self {
        let (authority, rest) = split(rest, &['/', '?', '#']);
        let (path, tail) = split(rest, &['?', '#']);
        Self {
            authority: Some(authority),
            path: Some(path.into()),
            bare: "",
            tail,
        }
    }

    /// The host with its port, as it was pasted.
    pub fn authority(&self) -> Option<&'a str> {
        self.authority
    }

    /// The host as a domain name: without port and trailing dot, in lower-case A-labels.
    pub fn name(&self) -> Option<String> {
        self.authority.map(name_of)
    }

    /// The link in the path. `prefix` is `links.prefix`, if known. A link that is not where it belongs is
    /// searched for at every depth, so that the caller can say what is wrong.
    pub fn link(&self, prefix: Option<&str>) -> Option<LinkPath<'_>> {
        let path = self.path.as_deref()?;
        if let Some(link) = LinkPath::parse(path, prefix.unwrap_or_default()) {
            return Some(link);
        }
        // Starting at the first of consecutive slashes covers the others.
        let mut read_to = None;
        let begins = |at: &usize| {
            let between = read_to.replace(*at + 1).and_then(|from| path.get(from..*at));
            !between.is_some_and(is_slashes)
        };
        let slashes = path.match_indices('/').map(|(at, _)| at).filter(begins);
        let below = slashes.filter_map(|at| path.get(at..));
        let mut links = below.filter_map(|rest| LinkPath::parse(rest, ""));
        links.next()
    }

    /// Whether the edge finds the link where it stands.
    pub fn is_under(&self, prefix: &str) -> bool {
        self.path
            .as_deref()
            .is_none_or(|path| LinkPath::parse(path, prefix).is_some())
    }

    /// The tenants whose links are served at this URL: on edge.name the one in the path, elsewhere those of
    /// the domain.
    pub fn tenants(&self, prefix: &str, place: Place, of_domain: impl FnOnce(&str) -> Vec<String>) -> Vec<String> {
        let Some(host) = self.name() else {
            return Vec::new();
        };
        let named = self.link(Some(prefix)).and_then(|link| link.tenant);
        match named.filter(|_| place == Place::Edge) {
            Some(tenant) => decoded(tenant).map(Cow::into_owned).into_iter().collect(),
            None => of_domain(&host),
        }
    }

    /// A token without host and path, with whatever was appended to it.
    pub(super) fn bare(&self) -> Option<&'a str> {
        self.path.is_none().then_some(self.bare)
    }

    /// Query and fragment.
    pub(super) fn tail(&self) -> &'a str {
        self.tail
    }
}

/// Whether the text is empty or consists of encoded slashes.
fn is_slashes(text: &str) -> bool {
    let mut thirds = text.as_bytes().chunks(3);
    thirds.all(|slash| slash.eq_ignore_ascii_case(b"%2f"))
}

/// Strips blanks and the quotes or brackets that people and programs put around links.
fn unquoted(text: &str) -> &str {
    let mut text = text.trim();
    let pairs = [('<', '>'), ('"', '"'), ('\'', '\'')];
    while let Some(inner) = pairs
        .iter()
        .find_map(|(open, close)| text.strip_prefix(*open).map(|t| t.strip_suffix(*close).unwrap_or(t)))
    {
        text = inner.trim();
    }
    text
}

/// Splits before the first of the given characters.
fn split<'a>(text: &'a str, at: &[char]) -> (&'a str, &'a str) {
    let end = text.find(at).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn is_token(text: &str) -> bool {
    Token::decode(token_in(text).as_deref().unwrap_or(text)).is_ok()
}

fn name_of(authority: &str) -> String {
    let host = authority.rsplit('@').next().unwrap_or_default();
    let name = host.split(':').next().unwrap_or_default().trim_end_matches('.');
    match name.is_ascii() {
        true => name.to_ascii_lowercase(),
        false => to_ascii(name).unwrap_or_else(|| name.to_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_may_be_missing() {
        for (text, host, token) in [
            (
                "https://Links.a.example:8443/c/Ab?x",
                Some("links.a.example"),
                Some("Ab"),
            ),
            (" <links.a.example./c/Ab> ", Some("links.a.example"), Some("Ab")),
            ("//links.a.example/C%2FAb.", Some("links.a.example"), Some("Ab.")),
            (
                "\"https://u@links.kündig.example//c//Ab\"",
                Some("links.xn--kndig-kva.example"),
                Some("Ab"),
            ),
            (
                "links.a.example/c/Ab?to=https://b.example/c/Cd",
                Some("links.a.example"),
                Some("Ab"),
            ),
            ("//c/Ab", None, Some("Ab")),
            ("c/Ab", None, Some("Ab")),
            ("https://links.a.example?c/Ab", Some("links.a.example"), None),
            ("Ab.", None, None),
        ] {
            let pasted = Pasted::of(text);
            assert_eq!(pasted.name().as_deref(), host, "{text}");
            assert_eq!(pasted.link(None).map(|link| link.text), token, "{text}");
        }
    }

    #[test]
    fn long_runs_of_slashes_are_read_once() {
        for slashes in ["/", "/%2F", "%2f/"] {
            let text = format!("https://links.a.example/x{}", slashes.repeat(1_000_000));
            let begun = std::time::Instant::now();
            assert_eq!(Pasted::of(&text).link(None), None);
            // Quadratic behaviour would take hours.
            assert!(begun.elapsed() < std::time::Duration::from_secs(20));
            let text = format!("{text}c/Ab");
            assert_eq!(Pasted::of(&text).link(None).map(|link| link.text), Some("Ab"));
        }
    }
}
