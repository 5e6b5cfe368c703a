//! Where a link stands in a URL path, and which part of it is the token or slug. The edge and the inspector
//! share this code, so that they agree.
//!
//! Mail programs, gateways and people add things to links: punctuation, quotes, soft line breaks, doubled
//! or encoded slashes, parameters. None of that is in the alphabet of tokens and slugs, so if the whole
//! text is invalid, the part before the first such byte is tried. Nothing inside the alphabet is ever cut
//! or changed: an altered token stays invalid.

use std::borrow::Cow;

use super::destination::Destination;
use super::slug::{MAX_SLUG, is_slug};
use super::token::{Kind, MAX_TOKEN_TEXT};

/// What a path is for.
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
    /// The kind of token in such a path; a redirect has a slug instead.
    pub(super) fn of_token(self) -> Option<Kind> {
        match self {
            Self::Open => Some(Kind::Open),
            Self::Click => Some(Kind::Click),
            Self::Unsubscribe => Some(Kind::Unsubscribe),
            Self::Redirect => None,
        }
    }
}

/// The path of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkPath<'a> {
    /// The kind of link.
    pub kind: LinkKind,
    /// The tenant in `/t/{tenant}/…`, still percent-encoded; `None` for the domain's own.
    pub tenant: Option<&'a str>,
    /// The token or slug, with whatever was appended to it.
    pub text: &'a str,
}

impl<'a> LinkPath<'a> {
    /// Parses a path; `None` if it is not that of a link. `prefix` is `links.prefix` without a trailing
    /// slash; it precedes `/o/`, `/c/`, `/r/` and `/u/`, but not inside `/t/{tenant}/…`.
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

    /// The spelling in which it was minted.
    fn exact(path: &'a str, tenant: Option<&'a str>) -> Option<Self> {
        let (letter, text) = path.split_at_checked(3)?;
        let letter = letter.strip_prefix('/')?.strip_suffix('/')?;
        Self::new(letter, tenant, text)
    }

    /// With doubled slashes, the letter in upper case, or either of them percent-encoded.
    fn respelled(path: &'a str, prefix: &str) -> Option<Self> {
        let rest = after_slashes(path)?;
        let plain = prefix.split('/').filter(|segment| !segment.is_empty());
        let of_domain = plain.into_iter().try_fold(rest, after_segment);
        if let Some(link) = of_domain.and_then(|rest| Self::after_letter(rest, None)) {
            return Some(link);
        }
        // A tenant may contain an encoded slash; it ends at a plain one.
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

/// What follows a segment, in any case and encoding, and the slashes after it.
fn after_segment<'a>(rest: &'a str, segment: &str) -> Option<&'a str> {
    let rest = segment.bytes().try_fold(rest, |rest, byte| {
        first(rest)
            .filter(|(found, _)| found.eq_ignore_ascii_case(&byte))
            .map(|(_, rest)| rest)
    })?;
    after_slashes(rest)
}

/// What follows one or more slashes, encoded or not.
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

/// Whether a destination is itself a click or redirect link of a host for which `is_served` is true. A
/// stored redirect or a fallback to one could loop, so neither may point there. A signed link cannot loop by
/// itself: it contains its destination, and so never itself.
pub fn points_to_link(destination: &Destination<'_>, prefix: &str, is_served: impl Fn(&str) -> bool) -> bool {
    // The path first: it rules out most destinations.
    let path = destination.path().split(['?', '#']).next().unwrap_or_default();
    LinkPath::parse(path, prefix).is_some_and(|link| matches!(link.kind, LinkKind::Click | LinkKind::Redirect))
        && destination.ascii_host().is_some_and(|host| is_served(&host))
}

/// What follows the token or slug found at the beginning of a text.
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

/// The token at the beginning of a text, without what was appended to it. `None` if there is none or if
/// nothing was appended.
pub fn token_in(text: &str) -> Option<Cow<'_, str>> {
    let token = beginning(text, MAX_TOKEN_TEXT, |b| {
        b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
    });
    (!token.is_empty() && token != text).then_some(token)
}

/// How many trailing dots are stripped one at a time (a full stop, an ellipsis). More are stripped at once,
/// because each candidate may cost a look-up.
const DOTS: usize = 3;

/// The slugs that a text may mean: the text itself, then without what was appended to it, then with fewer
/// and fewer trailing dots. In this order, because a slug may end in a dot.
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

/// Cuts a number of ASCII bytes off the end.
fn shortened<'a>(text: &Cow<'a, str>, bytes: usize) -> Cow<'a, str> {
    let end = text.len().saturating_sub(bytes);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(..end).unwrap_or_default()),
        Cow::Owned(text) => Cow::Owned(text.get(..end).unwrap_or_default().to_owned()),
    }
}

/// The text up to the first byte that is not allowed, raw or percent-encoded, without leading slashes. An
/// allowed byte may be percent-encoded (RFC 3986 §6.2.2.2). Empty if more than `max` bytes are allowed ones.
fn beginning(text: &str, max: usize, allowed: impl Fn(u8) -> bool) -> Cow<'_, str> {
    let text = without_slashes(text);
    let end = text.bytes().position(|b| !allowed(b)).unwrap_or(text.len());
    if end > max {
        return Cow::Borrowed("");
    }
    let (plain, mut rest) = text.split_at_checked(end).unwrap_or_default();
    let mut out = Cow::Borrowed(plain);
    while let Some((byte, after)) = first(rest).filter(|(byte, _)| allowed(*byte)) {
        out.to_mut().push(char::from(byte));
        if out.len() > max {
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

/// Percent-decodes a tenant in a path (RFC 3986 §2.1); `None` if the result is not UTF-8.
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
mod tests;
