//! Explains why a link does not work: for `linkseal link inspect` and `POST /v1/links/inspect`.
//!
//! The answer names the fault and what probably happened to the link in transit. It never reveals a key or
//! the correct tag.

mod damage;
mod served;

use std::time::{Duration, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::destination::Destination;
use crate::error::TokenError;
use crate::key::LinkKeys;
use crate::kill_kind::KillKind;
use crate::pasted::Pasted;
use crate::path::{LinkKind, after, token_in};
use crate::token::{Kind, NUMBER, Token};

use self::damage::damage;

pub use self::served::{KillLookup, Served};

/// The result of an inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finding {
    /// It is valid.
    Valid,
    /// There is no token in it.
    NoToken,
    /// Characters outside the token alphabet, or a non-canonical spelling.
    Spelling,
    /// Truncated, or something was appended.
    Length,
    /// Not a token of format v1.
    Format,
    /// The path says one kind, the token another.
    WrongPath,
    /// The key it names is not configured.
    UnknownKey,
    /// The key it names is revoked.
    RevokedKey,
    /// It is valid for a tenant that this domain does not serve.
    OtherTenant,
    /// Altered, or minted with another secret or for an unknown tenant.
    Forged,
    /// Signed, but its destination is not allowed.
    Destination,
    /// Its host is not a domain of this edge.
    WrongHost,
    /// It is older than `links.max_age`.
    TooOld,
    /// It could redirect in a loop: its destination is on its own host, or a stored redirect points to a link
    /// on a domain of this edge.
    Circle,
    /// A kill switch applies to it.
    Killed,
    /// A stored redirect; what is stored is not known here.
    StoredRedirect,
    /// No redirect with this slug is stored, neither for the domain nor for all domains.
    UnknownRedirect,
    /// The stored redirect has expired.
    ExpiredRedirect,
}

/// The content of a pasted link, and why it works or not. Unless the link is valid, its content may be forged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Inspection {
    /// Whether the edge serves the link.
    pub valid: bool,
    /// The result, for programs.
    pub finding: Finding,
    /// The result for people, with what to do.
    pub explanation: String,
    /// The host in the URL; null if only a token was given.
    pub host: Option<String>,
    /// The kind of token; null if it cannot be decoded.
    pub kind: Option<Kind>,
    /// The id of its key; null if it cannot be decoded.
    pub key_id: Option<u8>,
    /// When it was minted; null if it cannot be decoded.
    #[serde(serialize_with = "as_date")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>", extend("format" = "date-time")))]
    pub issued_at: Option<u32>,
    /// The message it belongs to; null if it cannot be decoded.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>", extend("format" = "uuid")))]
    pub message_id: Option<Uuid>,
    /// The number of the link in its message; null if it is not a click link.
    pub link: Option<u16>,
    /// The number of the list; null if it is not an unsubscribe link.
    pub list: Option<u16>,
    /// Where it redirects to; null if it does not redirect or the destination is not readable.
    pub destination: Option<String>,
    /// The tenant for which it is valid, or which owns the domain of a stored redirect; null if none of the
    /// tenants tried.
    pub tenant: Option<String>,
    /// The slug of a stored redirect; null for a signed link.
    pub slug: Option<String>,
    /// What follows the token or slug and is ignored: what was appended in transit, query and fragment; null
    /// if there is nothing.
    pub ignored: Option<String>,
    /// The kind of kill switch that applies to it; null if none is known to apply.
    pub killed: Option<KillKind>,
}

/// Inspects a URL or a bare token. `prefix` is `links.prefix`, if known. `tenants` are served at the link's
/// domain (the current and former ones); `others` are tried afterwards, to recognize a link on the wrong
/// domain.
pub fn explain<'a>(
    text: &str,
    prefix: Option<&str>,
    keys: &LinkKeys,
    tenants: &[&str],
    others: impl IntoIterator<Item = &'a str>,
) -> Inspection {
    let pasted = Pasted::of(text);
    let link = pasted.link(prefix);
    let (kind, written) = match (link, pasted.bare()) {
        (Some(link), _) => (Some(link.kind), link.text),
        (None, bare) => (None, bare.unwrap_or_default()),
    };
    let stored = kind == Some(LinkKind::Redirect);
    let mut out = Inspection {
        valid: false,
        finding: Finding::NoToken,
        explanation: String::new(),
        host: pasted.authority().map(str::to_owned),
        kind: None,
        key_id: None,
        issued_at: None,
        message_id: None,
        link: None,
        list: None,
        destination: None,
        tenant: None,
        slug: (stored && pasted.authority().is_some()).then(|| written.to_owned()),
        ignored: None,
        killed: None,
    };
    if out.slug.is_some() {
        return out.found(
            Finding::StoredRedirect,
            "a stored redirect; only the edge knows its destination: ask POST /v1/links/inspect",
        );
    }
    if stored || written.is_empty() {
        return out.found(
            Finding::NoToken,
            "there is no token in it; paste the whole link as it appears in the message",
        );
    }
    let kind = kind.and_then(LinkKind::of_token);
    // Like the edge: the whole text, else the part before the first byte outside the alphabet.
    let is_valid = |text: &str| Token::decode(text).is_ok_and(|t| t.verify(keys, tenants.iter().copied()).is_ok());
    let cut = token_in(written).filter(|cut| !is_valid(written) && Token::decode(cut).is_ok());
    let text = cut.as_deref().unwrap_or(written);
    let token = match Token::decode(text) {
        Ok(token) => token,
        Err(error) => {
            let finding = match error {
                TokenError::Length => Finding::Length,
                TokenError::Kind(_) => Finding::Format,
                _ => Finding::Spelling,
            };
            return out.found(finding, &format!("{error}{}", damage(written)));
        }
    };
    out.fill(&token);
    let appended = after(written, text);
    out.set_ignored(appended, pasted.tail());
    match token.verify(keys, tenants.iter().copied()) {
        Ok(_) if kind.is_some_and(|k| k != token.kind()) => out.found(
            Finding::WrongPath,
            &format!("the token is valid, but belongs under /{}/", token.kind().letter()),
        ),
        Ok(_) => {
            out.valid = true;
            out.tenant = tenants
                .iter()
                .find(|t| token.verify(keys, [**t]).is_ok())
                .map(|t| (*t).to_owned());
            match appended {
                "" => out.found(Finding::Valid, "the link is valid"),
                _ => out.found(
                    Finding::Valid,
                    &format!(
                        "the link is valid; what was appended to its token is ignored{}",
                        damage(written)
                    ),
                ),
            }
        }
        Err(error @ TokenError::UnknownKey(_)) => {
            out.found(Finding::UnknownKey, &format!("{error}: add it to links.keys"))
        }
        Err(error @ TokenError::RevokedKey(_)) => out.found(Finding::RevokedKey, &error.to_string()),
        Err(TokenError::Destination(error)) => out.found(Finding::Destination, &error.to_string()),
        Err(error) => match others.into_iter().find(|t| token.verify(keys, [*t]).is_ok()) {
            Some(other) => {
                out.tenant = Some(other.to_owned());
                let served = tenants.join(", ");
                out.found(
                    Finding::OtherTenant,
                    &format!("minted for tenant {other}; this domain serves {served}"),
                )
            }
            None => out.found(Finding::Forged, &format!("{error}{}", damage(written))),
        },
    }
}

impl Inspection {
    /// Adds to the explanation that the link was wrapped in one of another host.
    #[must_use]
    pub fn inside(mut self, host: Option<&str>) -> Self {
        if let Some(host) = host {
            self.explanation = format!("inside a link of {host}: {}", self.explanation);
        }
        self
    }

    /// Its host as a domain name.
    fn name(&self) -> Option<String> {
        Pasted::of(&format!("//{}/", self.host.as_deref()?)).name()
    }

    /// `appended` follows the token or slug; `tail` is query and fragment.
    fn set_ignored(&mut self, appended: &str, tail: &str) {
        self.ignored = Some(format!("{appended}{tail}")).filter(|ignored| !ignored.is_empty());
    }

    fn refused(mut self, finding: Finding, explanation: &str) -> Self {
        self.valid = false;
        self.found(finding, explanation)
    }

    fn found(mut self, finding: Finding, explanation: &str) -> Self {
        self.finding = finding;
        explanation.clone_into(&mut self.explanation);
        self
    }

    fn fill(&mut self, token: &Token) {
        self.kind = Some(token.kind());
        self.key_id = Some(token.key_id());
        self.issued_at = Some(token.issued_at());
        self.message_id = Some(token.message_id());
        let Some((number, rest)) = token.body().split_at_checked(NUMBER) else {
            return;
        };
        let number = number.try_into().map(u16::from_be_bytes).ok();
        match token.kind() {
            Kind::Open => {}
            Kind::Click => {
                self.link = number;
                self.destination = str::from_utf8(rest)
                    .ok()
                    .filter(|d| Destination::new(d).is_ok())
                    .map(str::to_owned);
            }
            Kind::Unsubscribe => self.list = number,
        }
    }
}

/// Unix seconds in RFC 3339.
fn date(seconds: u64) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[allow(clippy::ref_option, reason = "serde passes a reference to the field")]
fn as_date<S: Serializer>(seconds: &Option<u32>, s: S) -> Result<S::Ok, S::Error> {
    match seconds {
        Some(seconds) => s.collect_str(&date(u64::from(*seconds))),
        None => s.serialize_none(),
    }
}

#[cfg(test)]
mod tests;
