//! Where a link stands in a URL, and what of it is the token or slug. The edge and the inspector both
//! read paths here, so that they agree.
//!
//! Mail programs, gateways and people put things around links: punctuation, quotes, soft line
//! breaks, doubled or encoded slashes, parameters. None of that is in the alphabet of tokens and
//! slugs, so what stands before the first such byte may be tried when the whole is not right. What
//! stands inside the alphabet is never cut or changed: a token that was altered stays wrong.

use std::borrow::Cow;

use super::destination::Destination;
use super::slug::{MAX_SLUG, is_slug};
use super::token::{Kind, MAX_TOKEN_TEXT};

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// `/o/…`.
    Open,
    /// `/c/…`.
    Click,
    /// `/u/…`.
    Unsubscribe,
    /// `/r/…`.
    Redirect,
}

impl LinkKind {
    /// The kind of token it takes. `None`: it takes a slug.
    pub(super) fn of_token(self) -> Option<Kind> {
        match self {
            Self::Open => Some(Kind::Open),
            Self::Click => Some(Kind::Click),
            Self::Unsubscribe => Some(Kind::Unsubscribe),
            Self::Redirect => None,
        }
    }
}

/// A path that is one of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkPath<'a> {
    /// What it is for.
    pub kind: LinkKind,
    /// The tenant in `/t/{tenant}/…`, as it is written. `None`: the domain's.
    pub tenant: Option<&'a str>,
    /// The token or slug, and what was appended to it.
    pub text: &'a str,
}

impl<'a> LinkPath<'a> {
    /// Reads a path. `prefix` is `links.prefix`, without a slash at its end; it stands before `/o/`,
    /// `/c/`, `/r/` and `/u/`, but not within `/t/{tenant}/…`. `None`: it is the path of no link.
    pub fn parse(path: &'a str, prefix: &str) -> Option<Self> {
        if let Some(link) = path.strip_prefix(prefix).and_then(|rest| Self::exact(rest, None)) {
            return Some(link);
        }
        if let Some(rest) = path.strip_prefix("/t/")
            && let Some((tenant, _)) = rest.split_once('/').filter(|(tenant, _)| !tenant.is_empty())
            && let Some(link) = Self::exact(rest.get(tenant.len()..)?, Some(tenant))
        {
            return Some(link);
        }
        Self::respelled(path, prefix)
    }

    /// As it was minted.
    fn exact(path: &'a str, tenant: Option<&'a str>) -> Option<Self> {
        let (letter, text) = path.split_at_checked(3)?;
        let letter = letter.strip_prefix('/')?.strip_suffix('/')?;
        Self::new(letter, tenant, text)
    }

    /// With slashes that were doubled, letters of the other case, or either of them encoded.
    fn respelled(path: &'a str, prefix: &str) -> Option<Self> {
        let rest = after_slashes(path)?;
        let plain = prefix.split('/').filter(|segment| !segment.is_empty());
        let of_domain = plain.into_iter().try_fold(rest, after_segment);
        if let Some(link) = of_domain.and_then(|rest| Self::after_letter(rest, None)) {
            return Some(link);
        }
        // A tenant may hold an encoded slash: it ends at a plain one.
        let (tenant, rest) = after_segment(rest, "t")?.split_once('/')?;
        Self::after_letter(
            rest.trim_start_matches('/'),
            Some(tenant).filter(|tenant| !tenant.is_empty()),
        )
        .filter(|link| link.tenant.is_some())
    }

    fn after_letter(rest: &'a str, tenant: Option<&'a str>) -> Option<Self> {
        let (letter, rest) = first(rest)?;
        let mut buffer = [0; 2];
        let letter = char::from(letter).to_ascii_lowercase().encode_utf8(&mut buffer);
        Self::new(letter, tenant, after_slashes(rest)?)
    }

    fn new(letter: &str, tenant: Option<&'a str>, text: &'a str) -> Option<Self> {
        let kind = match letter {
            "o" => LinkKind::Open,
            "c" => LinkKind::Click,
            "u" => LinkKind::Unsubscribe,
            "r" if tenant.is_none() => LinkKind::Redirect,
            _ => return None,
        };
        let text = match kind {
            LinkKind::Open => text.strip_suffix(".gif").unwrap_or(text),
            _ => text,
        };
        Some(Self { kind, tenant, text })
    }
}

/// What follows a segment, whatever its case and encoding, and the slashes after it.
fn after_segment<'a>(rest: &'a str, segment: &str) -> Option<&'a str> {
    let rest = segment.bytes().try_fold(rest, |rest, byte| {
        first(rest)
            .filter(|(found, _)| found.eq_ignore_ascii_case(&byte))
            .map(|(_, rest)| rest)
    })?;
    after_slashes(rest)
}

/// What follows one slash or more, encoded or not. `None`: there is none.
fn after_slashes(text: &str) -> Option<&str> {
    let rest = without_slashes(text);
    (rest.len() < text.len()).then_some(rest)
}

fn without_slashes(mut text: &str) -> &str {
    loop {
        let encoded = || {
            text.get(..3)
                .filter(|t| t.eq_ignore_ascii_case("%2f"))
                .and(text.get(3..))
        };
        match text.strip_prefix('/').or_else(encoded) {
            Some(rest) => text = rest,
            None => return text,
        }
    }
}

/// Whether a destination is a link of ours that leads on, wherever its host is served: a stored
/// redirect or a fallback to it could lead in circles. A signed link holds its destination and so never itself;
/// while a stored one leads to no link, there is no way round.
pub fn comes_back(destination: &Destination<'_>, prefix: &str, is_served: impl Fn(&str) -> bool) -> bool {
    // Its path first: most lead to no such path.
    let path = destination.path().split(['?', '#']).next().unwrap_or_default();
    LinkPath::parse(path, prefix).is_some_and(|link| matches!(link.kind, LinkKind::Click | LinkKind::Redirect))
        && destination.ascii_host().is_some_and(|host| is_served(&host))
}

/// What stands after the token or slug that was found at the beginning of a text.
pub(super) fn after<'a>(text: &'a str, found: &str) -> &'a str {
    if let Some(rest) = text.strip_prefix(found) {
        return rest;
    }
    let text = without_slashes(text);
    found
        .bytes()
        .try_fold(text, |rest, _| first(rest).map(|(_, rest)| rest))
        .unwrap_or_default()
}

/// The token that stands at the beginning of a text, without what was appended to it. `None`: there
/// is none, or nothing was appended.
pub fn token_in(text: &str) -> Option<Cow<'_, str>> {
    let token = beginning(text, MAX_TOKEN_TEXT, |b| {
        b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
    });
    (!token.is_empty() && token != text).then_some(token)
}

/// Dots at the end of a text that are taken off one by one: a full stop, an ellipsis. More are taken
/// off together, as each slug may be a look-up.
const DOTS: usize = 3;

/// The slugs that a text may mean: itself, without what was appended to it, and that with ever fewer
/// dots at its end. In this order: a slug may end in a dot.
pub fn slugs_in(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'~' | b'.');
    let cut = beginning(text, MAX_SLUG, allowed);
    let dots = cut.len() - cut.trim_end_matches('.').len();
    let fewer = (1..=DOTS.min(dots)).chain((dots > DOTS).then_some(dots));
    let undotted: Vec<_> = fewer.map(|dots| shortened(&cut, dots)).collect();
    let cut = Some(cut).filter(|cut| cut != text);
    std::iter::once(Cow::Borrowed(text))
        .chain(cut)
        .chain(undotted)
        .filter(|slug| is_slug(slug))
}

/// Without so many bytes of ASCII at its end.
fn shortened<'a>(text: &Cow<'a, str>, bytes: usize) -> Cow<'a, str> {
    let end = text.len().saturating_sub(bytes);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(..end).unwrap_or_default()),
        Cow::Owned(text) => Cow::Owned(text.get(..end).unwrap_or_default().to_owned()),
    }
}

/// What stands before the first byte that is not allowed, raw or percent-encoded; slashes before it
/// are passed over. An encoded byte that is allowed is itself (RFC 3986 §6.2.2.2). Empty: more than
/// `most` bytes are allowed ones.
fn beginning(text: &str, most: usize, allowed: impl Fn(u8) -> bool) -> Cow<'_, str> {
    let text = without_slashes(text);
    let end = text.bytes().position(|b| !allowed(b)).unwrap_or(text.len());
    if end > most {
        return Cow::Borrowed("");
    }
    let (plain, mut rest) = text.split_at_checked(end).unwrap_or_default();
    let mut out = Cow::Borrowed(plain);
    while let Some((byte, after)) = first(rest).filter(|(byte, _)| allowed(*byte)) {
        out.to_mut().push(char::from(byte));
        if out.len() > most {
            return Cow::Borrowed("");
        }
        rest = after;
    }
    out
}

/// The first byte of a text, decoded, and what follows.
fn first(text: &str) -> Option<(u8, &str)> {
    let mut decoded = [0];
    if let Some(code) = text.strip_prefix('%').and_then(|rest| rest.as_bytes().get(..2))
        && hex::decode_to_slice(code, &mut decoded).is_ok()
    {
        return Some((decoded[0], text.get(3..)?));
    }
    Some((*text.as_bytes().first()?, text.get(1..)?))
}

/// Percent-decodes a tenant in a path (RFC 3986 §2.1). `None`: it is no text.
pub fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut parts = text.split('%');
    let mut out = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.as_bytes().split_at_checked(2)?;
        let mut byte = [0];
        hex::decode_to_slice(code, &mut byte).ok()?;
        out.extend_from_slice(&byte);
        out.extend_from_slice(rest);
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_may_be_respelled() {
        let click = |tenant| LinkPath {
            kind: LinkKind::Click,
            tenant,
            text: "Ab",
        };
        for path in [
            "/c/Ab",
            "//c/Ab",
            "///c/Ab",
            "/C/Ab",
            "/c%2FAb",
            "%2fc%2fAb",
            "/%2Fc%2F/Ab",
            "/%63/Ab",
            "/%43%2fAb",
            "//%63//Ab",
        ] {
            assert_eq!(LinkPath::parse(path, ""), Some(click(None)), "{path}");
        }
        for path in ["/t/acme/c/Ab", "//t//acme//c//Ab", "/T/acme/C/Ab", "/t/acme//c%2FAb"] {
            assert_eq!(LinkPath::parse(path, ""), Some(click(Some("acme"))), "{path}");
        }
        for path in ["/e/c/Ab", "//e//c/Ab", "/E/C/Ab", "/e%2Fc%2FAb"] {
            assert_eq!(LinkPath::parse(path, "/e"), Some(click(None)), "{path}");
            assert_eq!(LinkPath::parse(path, ""), None, "{path}");
        }
        for path in [
            "",
            "/",
            "*",
            "c/Ab",
            "/cc/Ab",
            "/c",
            "/C",
            "/x/c/Ab",
            "/t/c/Ab",
            "/t//c/Ab",
            "/t/acme/r/x",
            "/é/c",
            "/c%2",
        ] {
            assert_eq!(LinkPath::parse(path, ""), None, "{path}");
        }
    }

    #[test]
    fn what_was_appended_is_cut_and_nothing_else() {
        for (text, token) in [
            ("Ab-_9", None),
            ("", None),
            ("%22", None),
            ("é", None),
            ("Ab.", Some("Ab")),
            ("Ab%22", Some("Ab")),
            ("Ab%C2%A0", Some("Ab")),
            ("Ab%zz", Some("Ab")),
            ("Ab%", Some("Ab")),
            ("Ab%4", Some("Ab")),
            ("Ab/", Some("Ab")),
            ("/Ab", Some("Ab")),
            ("//%2FAb//", Some("Ab")),
            ("Abé", Some("Ab")),
            ("Ab\u{200b}cd", Some("Ab")),
            // Inside the alphabet, however it is written.
            ("Ab%2D", Some("Ab-")),
            ("A%62%5f.", Some("Ab_")),
            ("Ab%253D", Some("Ab")),
        ] {
            assert_eq!(token_in(text).as_deref(), token, "{text}");
        }
        assert_eq!(token_in(&format!("{}.", "a".repeat(MAX_TOKEN_TEXT + 1))), None);
        for (text, slugs) in [
            ("sale", &["sale"][..]),
            ("sale.", &["sale.", "sale"]),
            ("sale..", &["sale..", "sale.", "sale"]),
            ("sale...", &["sale...", "sale..", "sale.", "sale"]),
            (
                "sale......",
                &["sale......", "sale.....", "sale....", "sale...", "sale"],
            ),
            ("s%61le..", &["sale..", "sale.", "sale"]),
            ("sale..%22", &["sale..", "sale.", "sale"]),
            ("sale.%22", &["sale.", "sale"]),
            ("sale,", &["sale"]),
            ("/sale/", &["sale"]),
            ("a.b~c", &["a.b~c"]),
            ("sa%6Ce", &["sale"]),
            ("..", &[]),
            ("%20", &[]),
        ] {
            assert_eq!(slugs_in(text).collect::<Vec<_>>(), slugs, "{text}");
        }
    }

    #[test]
    fn a_tenant_may_be_written_in_any_way() {
        for (text, tenant) in [
            ("acme", Some("acme")),
            ("a%20b%2Fc", Some("a b/c")),
            ("k%C3%B6", Some("kö")),
            ("a%", None),
            ("a%2", None),
            ("a%zz", None),
            ("%ff", None),
        ] {
            assert_eq!(decoded(text).as_deref(), tenant, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_decoration_outside_the_alphabet_is_cut(token in "[A-Za-z0-9_-]{1,60}", between in "[^A-Za-z0-9_%-]|%[0189a-fA-F]|%(2[0-9a-cA-Ce-fE-F]|3[a-fA-F]|[0189a-fA-F][0-9a-fA-F])", rest in "\\PC{0,20}") {
            let written = format!("{token}{between}{rest}");
            // `%8` with a hex digit after it is a byte, and outside as well.
            let found = token_in(&written);
            prop_assert_eq!(found.as_deref(), Some(token.as_str()), "{}", written);
        }

        #[test]
        fn nothing_panics(path in "\\PC{0,40}", prefix in "(/[a-z]{1,5})?") {
            let _ = LinkPath::parse(&path, &prefix);
            let _ = token_in(&path);
            let _ = slugs_in(&path).count();
            let _ = decoded(&path);
        }
    }
}
