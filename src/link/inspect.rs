//! Why does this link not work? For `linkseal link inspect` and `POST /v1/links/inspect`.
//!
//! The answer names what is wrong and what was probably done to the link on its way. It never
//! tells a secret: neither a key nor what the right tag would have been.

use serde::Serialize;
use uuid::Uuid;

use super::destination::Destination;
use super::key::LinkKeys;
use super::token::{Kind, MAX_TOKEN_TEXT, NUMBER, Token, TokenError};
use crate::clock::Timestamp;

/// What an inspection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finding {
    /// It verifies.
    Valid,
    /// No token in it.
    NoToken,
    /// Characters that a token does not have, or another spelling of its bytes.
    Spelling,
    /// Cut off, or something was added.
    Length,
    /// Not of format v1.
    Format,
    /// The path says one kind, the token another.
    WrongPath,
    /// The key it names is not configured.
    UnknownKey,
    /// The key it names is revoked.
    RevokedKey,
    /// It verifies for a tenant whose domain this is not.
    OtherTenant,
    /// Changed, or minted under another secret or for an unknown tenant.
    Forged,
    /// Signed, but its destination is not allowed.
    Destination,
}

/// What is in a pasted link and why it works or not. What does not verify may be made up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Inspection {
    /// Whether the edge serves it.
    pub valid: bool,
    /// What was found.
    pub finding: Finding,
    /// The same for people, with what to do.
    pub explanation: String,
    /// The host in the URL. `None`: only a token was given.
    pub host: Option<String>,
    /// What the token is for. `None`: it cannot be decoded.
    pub kind: Option<Kind>,
    /// The key it names. `None`: it cannot be decoded.
    pub key_id: Option<u8>,
    /// When it was minted. `None`: it cannot be decoded.
    pub issued_at: Option<Timestamp>,
    /// The message it belongs to. `None`: it cannot be decoded.
    #[schemars(with = "Option<String>")]
    pub message_id: Option<Uuid>,
    /// Which link of the message. `None`: it is no click link.
    pub link: Option<u16>,
    /// Which list. `None`: it is no unsubscribe link.
    pub list: Option<u16>,
    /// Where it leads. `None`: it is no click link, or its destination is no text.
    pub destination: Option<String>,
    /// The tenant it verifies for. `None`: for none that was tried.
    pub tenant: Option<String>,
}

/// Inspects a URL or a bare token. `tenants`: those served at the link's domain, the present one
/// and the former ones; `others`: more to try, so that a link on the wrong domain is recognized.
pub fn explain<'a>(
    text: &str,
    keys: &LinkKeys,
    tenants: &[&str],
    others: impl IntoIterator<Item = &'a str>,
) -> Inspection {
    let pasted = Pasted::of(text);
    let mut out = Inspection {
        valid: false,
        finding: Finding::NoToken,
        explanation: String::new(),
        host: pasted.host.map(str::to_owned),
        kind: None,
        key_id: None,
        issued_at: None,
        message_id: None,
        link: None,
        list: None,
        destination: None,
        tenant: None,
    };
    if pasted.token.is_empty() {
        return out.found(
            Finding::NoToken,
            "there is no token in it; paste the whole link, as it stands in the message",
        );
    }
    let token = match Token::decode(pasted.token) {
        Ok(token) => token,
        Err(error) => {
            let finding = match error {
                TokenError::Length => Finding::Length,
                TokenError::Kind(_) => Finding::Format,
                _ => Finding::Spelling,
            };
            return out.found(finding, &format!("{error}{}", damage(pasted.token)));
        }
    };
    out.fill(&token);
    match token.verify(keys, tenants.iter().copied()) {
        Ok(_) if pasted.kind.is_some_and(|k| k != token.kind()) => out.found(
            Finding::WrongPath,
            &format!("the token is right, but belongs under /{}/", token.kind().letter()),
        ),
        Ok(_) => {
            out.valid = true;
            out.tenant = tenants
                .iter()
                .find(|t| token.verify(keys, [**t]).is_ok())
                .map(|t| (*t).to_owned());
            out.found(Finding::Valid, "the link is right")
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
            None => out.found(Finding::Forged, &format!("{error}{}", damage(pasted.token))),
        },
    }
}

impl Inspection {
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

/// What people paste, taken apart.
struct Pasted<'a> {
    host: Option<&'a str>,
    kind: Option<Kind>,
    token: &'a str,
}

impl<'a> Pasted<'a> {
    fn of(text: &'a str) -> Self {
        let text = text.trim().trim_matches(['<', '>', '"', '\'']);
        let (host, path) = match text.split_once("://") {
            Some((_, rest)) => {
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                (Some(host), path)
            }
            None => (None, text),
        };
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let (before, token) = path.rsplit_once('/').unwrap_or(("", path));
        let kind = match before.rsplit('/').next() {
            Some("o") => Some(Kind::Open),
            Some("c") => Some(Kind::Click),
            Some("u") => Some(Kind::Unsubscribe),
            _ => None,
        };
        let token = if kind == Some(Kind::Open) {
            token.strip_suffix(".gif").unwrap_or(token)
        } else {
            token
        };
        // A path that names no kind of link has no token; a bare token has no path.
        let token = if kind.is_none() && (host.is_some() || !before.is_empty()) {
            ""
        } else {
            token
        };
        Self { host, kind, token }
    }
}

/// What was probably done to a token on its way.
fn damage(token: &str) -> &'static str {
    let letters = || token.chars().filter(char::is_ascii_alphabetic);
    if token.chars().any(char::is_whitespace) {
        "; there are spaces or line breaks in it"
    } else if token.ends_with('=') || token.contains("=3D") || token.contains("%3D") {
        "; an equals sign was added, as quoted-printable or base64 padding do"
    } else if token.contains(['+', '%']) {
        "; it was encoded again on its way"
    } else if token.ends_with(['.', ',', ')', ';']) {
        "; the punctuation after the link is not part of it"
    } else if token.len() > MAX_TOKEN_TEXT {
        "; it is longer than any token"
    } else if letters().count() > 20
        && (letters().all(|c| c.is_ascii_lowercase()) || letters().all(|c| c.is_ascii_uppercase()))
    {
        "; all letters are of one case: something on its way changed them"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::key::LinkKey;
    use super::super::mint::{Message, Minter, url};
    use super::*;

    fn keys() -> LinkKeys {
        LinkKeys::new([LinkKey::from_hex(1, &"07".repeat(32)).unwrap()]).unwrap()
    }

    fn click(key_id: u8, tenant: &str) -> String {
        let key = LinkKey::from_hex(key_id, &"07".repeat(32)).unwrap();
        let message = Message {
            id: Uuid::from_u128(7),
            issued_at: 1_795_305_600,
        };
        let token = Minter::new(&key, tenant).click(&message, 3, &Destination::new("https://example.com/x").unwrap());
        url("https://links.customer.example", Kind::Click, &token)
    }

    #[test]
    fn a_right_link_shows_what_is_in_it() {
        let found = explain(
            &format!(" <{}?utm_source=x> ", click(1, "former")),
            &keys(),
            &["acme", "former"],
            [],
        );
        assert!(found.valid, "{found:?}");
        assert_eq!(
            (found.kind, found.key_id, found.link),
            (Some(Kind::Click), Some(1), Some(3))
        );
        assert_eq!(found.destination.as_deref(), Some("https://example.com/x"));
        assert_eq!(
            (found.tenant.as_deref(), found.host.as_deref()),
            (Some("former"), Some("links.customer.example"))
        );
        assert_eq!(found.issued_at.unwrap().to_string(), "2026-11-22T00:00:00Z");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let right = click(1, "acme");
        let keys = keys();
        let finding = |text: &str| explain(text, &keys, &["acme"], ["other"]).finding;
        assert_eq!(finding(&right), Finding::Valid);
        assert_eq!(finding(right.rsplit('/').next().unwrap()), Finding::Valid);
        assert_eq!(finding(""), Finding::NoToken);
        assert_eq!(finding("https://links.customer.example/"), Finding::NoToken);
        assert_eq!(finding("https://links.customer.example/pricing"), Finding::NoToken);
        assert_eq!(finding(&format!("{right}=")), Finding::Spelling);
        assert_eq!(finding(&format!("{right}.")), Finding::Spelling);
        assert_eq!(finding("EQFrAjCAAZLzpLXGfY6f"), Finding::Length);
        assert_eq!(finding("hello"), Finding::Spelling);
        assert_eq!(finding(&"AAAA".repeat(20)), Finding::Format);
        assert_eq!(finding(&right.replace("/c/", "/u/")), Finding::WrongPath);
        assert_eq!(finding(&click(2, "acme")), Finding::UnknownKey);
        assert_eq!(finding(&click(1, "other")), Finding::OtherTenant);
        assert_eq!(finding(&click(1, "nobody")), Finding::Forged);
        keys.revoke(1);
        assert_eq!(finding(&right), Finding::RevokedKey);
    }

    #[test]
    fn the_damage_is_guessed() {
        let explained = |text: &str| explain(text, &keys(), &["acme"], []).explanation;
        assert!(explained(&format!("{}=", click(1, "acme"))).contains("equals sign"));
        assert!(explained(&format!("{}),", click(1, "acme"))).contains("punctuation"));
        // A lower-cased open token keeps its length but not its first byte.
        assert!(explained(&click(1, "acme").to_ascii_lowercase()).contains("one case"));
    }

    proptest! {
        #[test]
        fn nothing_pasted_panics(text in "(https?://)?\\PC{0,120}") {
            prop_assert!(!explain(&text, &keys(), &["acme"], ["other"]).valid);
        }
    }
}
