//! What people paste, taken apart: a URL with or without its scheme, a path, or a bare token. The
//! path is then read by [`LinkPath`], as the edge reads it.

use std::borrow::Cow;

use super::host::to_ascii;
use super::inspect::Place;
use super::path::{LinkPath, decoded, token_in};
use super::token::Token;

/// A URL, a path or a bare token.
pub struct Pasted<'a> {
    authority: Option<&'a str>,
    /// Without query and fragment. `None`: it is a bare token.
    path: Option<Cow<'a, str>>,
    /// A bare token, and what was appended to it.
    bare: &'a str,
    /// Query and fragment, which the edge does not look at.
    tail: &'a str,
}

impl<'a> Pasted<'a> {
    /// Takes a text apart.
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

    /// The host with its port, as it was pasted. `None`: there is none.
    pub fn authority(&self) -> Option<&'a str> {
        self.authority
    }

    /// The host as domains are named: without port and final dot, in lower case, as A-labels.
    pub fn name(&self) -> Option<String> {
        self.authority.map(name_of)
    }

    /// Where the link stands in the path. `prefix`: `links.prefix`; `None`: it is not known.
    /// What fits nowhere is looked for below any path, to tell what is wrong.
    pub fn link(&self, prefix: Option<&str>) -> Option<LinkPath<'_>> {
        let path = self.path.as_deref()?;
        if let Some(link) = LinkPath::parse(path, prefix.unwrap_or_default()) {
            return Some(link);
        }
        // From the first of several slashes on, the others are passed over anyway.
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

    /// The tenants whose links are served where this one stands: on edge.name the one in the path,
    /// else those of the domain.
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

    /// A token without host and path, and what was appended to it. `None`: it has a path.
    pub(super) fn bare(&self) -> Option<&'a str> {
        self.path.is_none().then_some(self.bare)
    }

    /// Query and fragment.
    pub(super) fn tail(&self) -> &'a str {
        self.tail
    }
}

/// Whether there is nothing but encoded slashes, if anything.
fn is_slashes(text: &str) -> bool {
    let mut thirds = text.as_bytes().chunks(3);
    thirds.all(|slash| slash.eq_ignore_ascii_case(b"%2f"))
}

/// Without blanks, and without the pairs of quotes that people and programs put around.
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

/// What stands before the first of some characters, and the rest with it.
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
    fn slashes_without_end_are_read_once() {
        for slashes in ["/", "/%2F", "%2f/"] {
            let text = format!("https://links.a.example/x{}", slashes.repeat(1_000_000));
            let begun = std::time::Instant::now();
            assert_eq!(Pasted::of(&text).link(None), None);
            // Read from each of them on, this takes hours.
            assert!(begun.elapsed() < std::time::Duration::from_secs(20));
            let text = format!("{text}c/Ab");
            assert_eq!(Pasted::of(&text).link(None).map(|link| link.text), Some("Ab"));
        }
    }
}
