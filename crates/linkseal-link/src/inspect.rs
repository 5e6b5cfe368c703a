//! Why does this link not work? For `linkseal link inspect` and `POST /v1/links/inspect`.
//!
//! The answer names what is wrong and what was probably done to the link on its way. It never
//! tells a secret: neither a key nor what the right tag would have been.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::destination::Destination;
use super::key::LinkKeys;
use super::kill_kind::KillKind;
use super::pasted::Pasted;
use super::path::{LinkKind, after, comes_back, slugs_in, token_in};
use super::slug::SlugError;
use super::token::{Kind, MAX_TOKEN_TEXT, NUMBER, Token, TokenError};

/// What an inspection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// Its host is no domain of this edge.
    WrongHost,
    /// It was minted longer ago than `links.max_age` allows.
    TooOld,
    /// Its destination is on its own host, or a stored redirect's is a link on a domain of this edge:
    /// it could lead in circles.
    Circle,
    /// A kill switch holds it.
    Killed,
    /// A stored redirect, and anyone who inspects it does not know what is stored.
    StoredRedirect,
    /// No redirect of this slug is stored for the domain or for all.
    UnknownRedirect,
    /// The stored redirect has expired.
    ExpiredRedirect,
}

/// What is in a pasted link and why it works or not. What does not verify may be made up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    #[serde(serialize_with = "as_date")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>", extend("format" = "date-time")))]
    pub issued_at: Option<u32>,
    /// The message it belongs to. `None`: it cannot be decoded.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>", extend("format" = "uuid")))]
    pub message_id: Option<Uuid>,
    /// Which link of the message. `None`: it is no click link.
    pub link: Option<u16>,
    /// Which list. `None`: it is no unsubscribe link.
    pub list: Option<u16>,
    /// Where it leads. `None`: it is no click link, or its destination is no text.
    pub destination: Option<String>,
    /// The tenant it verifies for, or whose domain a stored redirect is on. `None`: for none that
    /// was tried.
    pub tenant: Option<String>,
    /// The slug of a stored redirect. `None`: it is a signed link.
    pub slug: Option<String>,
    /// What stands after its token or slug and is passed over: what was appended on its way, query
    /// and fragment. `None`: nothing, or no token or slug was recognized.
    pub ignored: Option<String>,
    /// The kind of kill switch that holds it. `None`: none that is known here.
    pub killed: Option<KillKind>,
}

/// What a link meets on an edge beyond its signature: for [`Inspection::as_served`].
pub struct Served<'a> {
    /// The present time, in Unix seconds.
    pub now: u64,
    /// `links.max_age`. `None`: links never get too old.
    pub max_age: Option<Duration>,
    /// `links.prefix`, without a slash at its end.
    pub prefix: &'a str,
    /// What the link's host is.
    pub place: Place,
    /// Whether a host is a domain that is served. `None`: which there are is not known here.
    pub is_served: Option<&'a dyn Fn(&str) -> bool>,
    /// The kill switches. `None`: they are not known here.
    pub kills: Option<&'a KillLookup<'a>>,
}

/// Which kill switch a link meets: by its tenant, its message and its destination.
pub type KillLookup<'a> = dyn Fn(&str, Option<Uuid>, &Destination<'_>) -> Option<KillKind> + 'a;

/// What the host of a link is to an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// There is no host, or which domains there are is not known.
    Unknown,
    /// edge.name or one of its aliases.
    Edge,
    /// A domain that is served.
    Domain,
    /// Not served.
    Nowhere,
}

/// Inspects a URL or a bare token. `prefix`: `links.prefix`, where it is known; `tenants`: those
/// served at the link's domain, the present one and the former ones; `others`: more to try, so that
/// a link on the wrong domain is recognized.
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
            "a stored redirect; only the edge knows where it leads: ask POST /v1/links/inspect",
        );
    }
    if stored || written.is_empty() {
        return out.found(
            Finding::NoToken,
            "there is no token in it; paste the whole link, as it stands in the message",
        );
    }
    let kind = kind.and_then(LinkKind::of_token);
    // As the edge does: the whole, else what stands before the first byte outside the alphabet.
    let right = |text: &str| Token::decode(text).is_ok_and(|t| t.verify(keys, tenants.iter().copied()).is_ok());
    let cut = token_in(written).filter(|cut| !right(written) && Token::decode(cut).is_ok());
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
    out.passes_over(appended, pasted.tail());
    match token.verify(keys, tenants.iter().copied()) {
        Ok(_) if kind.is_some_and(|k| k != token.kind()) => out.found(
            Finding::WrongPath,
            &format!("the token is right, but belongs under /{}/", token.kind().letter()),
        ),
        Ok(_) => {
            out.valid = true;
            out.tenant = tenants
                .iter()
                .find(|t| token.verify(keys, [**t]).is_ok())
                .map(|t| (*t).to_owned());
            match appended {
                "" => out.found(Finding::Valid, "the link is right"),
                _ => out.found(
                    Finding::Valid,
                    &format!(
                        "the link is right; what was appended to its token is passed over{}",
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
    /// Says that it stood inside a link of another host, which was taken off.
    #[must_use]
    pub fn inside(mut self, host: Option<&str>) -> Self {
        if let Some(host) = host {
            self.explanation = format!("inside a link of {host}: {}", self.explanation);
        }
        self
    }

    /// Looks at a link that verifies as the edge would serve it: where it stands, how old it is,
    /// where it leads, and whether that was killed. `text`: what was inspected.
    pub fn as_served(mut self, text: &str, served: &Served<'_>) -> Self {
        if self.finding == Finding::NoToken || self.slug.is_some() {
            return self;
        }
        if served.place == Place::Nowhere {
            return self.on_the_wrong_host();
        }
        if !self.valid {
            return self;
        }
        if self.host.is_some() && served.place != Place::Unknown {
            let pasted = Pasted::of(text);
            let of_tenant = pasted.link(Some(served.prefix)).is_some_and(|l| l.tenant.is_some());
            if !pasted.is_under(served.prefix) || (of_tenant && served.place != Place::Edge) {
                let letter = self.kind.map_or('c', Kind::letter);
                let place = format!(
                    "the token is right, but here it belongs under {}/{letter}/",
                    served.prefix
                );
                return self.refused(Finding::WrongPath, &place);
            }
        }
        let age = self
            .issued_at
            .map(|at| Duration::from_secs(served.now.saturating_sub(u64::from(at))));
        let too_old = served.max_age.zip(age).is_some_and(|(most, age)| age > most);
        if too_old && self.kind != Some(Kind::Unsubscribe) {
            let issued = date(u64::from(self.issued_at.unwrap_or_default()));
            return self.refused(
                Finding::TooOld,
                &format!("minted at {issued}, which is longer ago than links.max_age allows"),
            );
        }
        match (self.destination.take(), self.tenant.clone()) {
            (Some(url), Some(tenant)) => self.leading_to(url, &tenant, served, false),
            (destination, _) => {
                self.destination = destination;
                self
            }
        }
    }

    /// Tells of a stored redirect what is stored: slug, URL and expiry. `None`: nothing. `tenant`: of
    /// the domain it stands on; `text`: what was inspected.
    pub fn as_stored(
        mut self,
        text: &str,
        stored: Option<(&str, &str, Option<u64>)>,
        tenant: &str,
        served: &Served<'_>,
    ) -> Self {
        let Some(slug) = self.slug.clone() else { return self };
        if served.place == Place::Nowhere {
            return self.on_the_wrong_host();
        }
        let pasted = Pasted::of(text);
        if served.place != Place::Unknown && !pasted.is_under(served.prefix) {
            let place = format!("here a stored redirect belongs under {}/r/", served.prefix);
            return self.refused(Finding::WrongPath, &place);
        }
        let Some((found, url, expires)) = stored else {
            if slugs_in(&slug).next().is_none() {
                return self.refused(Finding::Spelling, &SlugError.to_string());
            }
            return self.refused(
                Finding::UnknownRedirect,
                &format!("no redirect {slug} is stored for this domain or for all"),
            );
        };
        self.passes_over(after(&slug, found), pasted.tail());
        self.slug = Some(found.to_owned());
        self.tenant = Some(tenant.to_owned());
        if let Some(at) = expires.filter(|at| *at <= served.now) {
            self.destination = Some(url.to_owned());
            return self.refused(
                Finding::ExpiredRedirect,
                &format!("this redirect expired at {}", date(at)),
            );
        }
        self.valid = true;
        self.finding = Finding::Valid;
        "the redirect is stored and leads to its destination".clone_into(&mut self.explanation);
        self.leading_to(url.to_owned(), tenant, served, true)
    }

    /// Where it leads, and whether it may. `stored`: it is a stored redirect.
    fn leading_to(mut self, url: String, tenant: &str, served: &Served<'_>, stored: bool) -> Self {
        let (mut own, mut other, mut killed) = (false, None, None);
        if let Ok(destination) = Destination::new(&url) {
            own = self.name().is_some_and(|host| destination.leads_to(&host));
            let known = served.is_served.filter(|_| stored);
            other = known
                .filter(|known| comes_back(&destination, served.prefix, known))
                .and_then(|_| destination.ascii_host().map(|host| host.into_owned()));
            killed = served.kills.and_then(|hit| hit(tenant, self.message_id, &destination));
        }
        self.destination = Some(url);
        if own {
            return self.refused(
                Finding::Circle,
                "its destination is on its own host, where it could lead in circles",
            );
        }
        if let Some(host) = other {
            return self.refused(
                Finding::Circle,
                &format!("its destination is a link on {host}, a domain of this edge, and could lead in circles: store where that link leads"),
            );
        }
        if let Some(kind) = killed {
            self.killed = Some(kind);
            return self.refused(
                Finding::Killed,
                &format!("killed by its {}; visitors get a warning page", kind.as_str()),
            );
        }
        self
    }

    fn on_the_wrong_host(self) -> Self {
        let host = self.name().unwrap_or_default();
        let whose = match &self.tenant {
            Some(tenant) => format!("; it was minted for tenant {tenant}"),
            None => String::new(),
        };
        self.refused(
            Finding::WrongHost,
            &format!("{host} is no domain of this edge: register it, or mint links for the right domain{whose}"),
        )
    }

    fn name(&self) -> Option<String> {
        Pasted::of(&format!("//{}/", self.host.as_deref()?)).name()
    }

    /// `appended`: after token or slug; `tail`: query and fragment.
    fn passes_over(&mut self, appended: &str, tail: &str) {
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

/// Unix seconds as RFC 3339 writes them.
fn date(seconds: u64) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[allow(clippy::ref_option, reason = "serde gives a reference to the field")]
fn as_date<S: Serializer>(seconds: &Option<u32>, s: S) -> Result<S::Ok, S::Error> {
    match seconds {
        Some(seconds) => s.collect_str(&date(u64::from(*seconds))),
        None => s.serialize_none(),
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
            None,
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
        assert_eq!(
            serde_json::to_value(&found).unwrap()["issued_at"],
            "2026-11-22T00:00:00Z"
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let right = click(1, "acme");
        let keys = keys();
        let finding = |text: &str| explain(text, None, &keys, &["acme"], ["other"]).finding;
        assert_eq!(finding(&right), Finding::Valid);
        assert_eq!(finding(right.rsplit('/').next().unwrap()), Finding::Valid);
        assert_eq!(finding(""), Finding::NoToken);
        assert_eq!(finding("https://links.customer.example/"), Finding::NoToken);
        assert_eq!(finding("https://links.customer.example/pricing"), Finding::NoToken);
        assert_eq!(finding(&format!("{right}=")), Finding::Valid);
        assert_eq!(finding(&format!("{right}.")), Finding::Valid);
        assert_eq!(finding(&format!("{right}%22%3E")), Finding::Valid);
        assert_eq!(finding(&format!("{right}A")), Finding::Forged);
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

    fn served(place: Place) -> Served<'static> {
        Served {
            now: 1_795_305_660,
            max_age: None,
            prefix: "",
            place,
            is_served: None,
            kills: None,
        }
    }

    #[test]
    fn what_the_edge_holds_against_a_right_link_is_named() {
        let right = click(1, "acme");
        let keys = keys();
        let look =
            |text: &str, served: &Served<'_>| explain(text, None, &keys, &["acme"], ["other"]).as_served(text, served);
        let finding = |text: &str, served: &Served<'_>| {
            let found = look(text, served);
            assert_eq!(found.valid, found.finding == Finding::Valid, "{found:?}");
            assert!(!found.explanation.is_empty());
            found.finding
        };
        let domain = served(Place::Domain);
        for place in [Place::Domain, Place::Edge, Place::Unknown] {
            let found = look(&right, &served(place));
            assert_eq!(found.finding, Finding::Valid);
            assert_eq!(found.destination.as_deref(), Some("https://example.com/x"));
        }
        assert_eq!(finding(&right, &served(Place::Nowhere)), Finding::WrongHost);
        let other = look(&click(1, "other"), &served(Place::Nowhere));
        assert!(other.explanation.contains("tenant other"), "{other:?}");
        assert_eq!(finding(&click(1, "other"), &domain), Finding::OtherTenant);
        // Where it stands.
        let below = |parent: &str| right.replace("/c/", &format!("{parent}/c/"));
        assert_eq!(finding(&below("/t/acme"), &domain), Finding::WrongPath);
        assert_eq!(finding(&below("/t/acme"), &served(Place::Edge)), Finding::Valid);
        assert_eq!(finding(&below("/x"), &served(Place::Edge)), Finding::WrongPath);
        let prefixed = Served {
            prefix: "/e",
            ..served(Place::Domain)
        };
        assert_eq!(finding(&below("/e"), &prefixed), Finding::Valid);
        assert_eq!(finding(&right, &prefixed), Finding::WrongPath);
        assert_eq!(finding(right.rsplit('/').next().unwrap(), &prefixed), Finding::Valid);
        // How old it is.
        let aged = |secs| Served {
            max_age: Some(Duration::from_secs(secs)),
            ..served(Place::Domain)
        };
        assert_eq!(finding(&right, &aged(60)), Finding::Valid);
        assert_eq!(finding(&right, &aged(59)), Finding::TooOld);
        // Where it leads.
        let on_itself = right.replace("links.customer.example", "EXAMPLE.com:443");
        assert_eq!(finding(&on_itself, &domain), Finding::Circle);
        let kills =
            |_: &str, _: Option<Uuid>, to: &Destination<'_>| (to.host() == "example.com").then_some(KillKind::Host);
        let killing = Served {
            kills: Some(&kills),
            ..served(Place::Domain)
        };
        let found = look(&right, &killing);
        assert_eq!((found.finding, found.killed), (Finding::Killed, Some(KillKind::Host)));
        assert_eq!(finding(&click(1, "nobody"), &killing), Finding::Forged);
    }

    #[test]
    fn a_stored_redirect_is_told_from_what_is_stored() {
        let text = "https://links.customer.example/r/sale?x";
        let keys = keys();
        let found = explain(text, None, &keys, &["acme"], []);
        assert_eq!(
            (found.finding, found.slug.as_deref()),
            (Finding::StoredRedirect, Some("sale"))
        );
        let here = served(Place::Domain);
        let told = |text: &str, stored: Option<(&str, Option<u64>)>, served: &Served<'_>| {
            explain(text, None, &keys, &["acme"], [])
                .as_served(text, served)
                .as_stored(text, stored.map(|(url, at)| ("sale", url, at)), "acme", served)
        };
        let url = "https://shop.example/";
        let valid = told(text, Some((url, None)), &here);
        assert!(valid.valid && valid.destination.as_deref() == Some(url) && valid.tenant.as_deref() == Some("acme"));
        assert_eq!(told(text, None, &here).finding, Finding::UnknownRedirect);
        let expired = told(text, Some((url, Some(here.now))), &here);
        assert_eq!((expired.valid, expired.finding), (false, Finding::ExpiredRedirect));
        assert_eq!(
            told(text, Some((url, None)), &served(Place::Nowhere)).finding,
            Finding::WrongHost
        );
        let own = told(text, Some(("https://links.customer.example/x", None)), &here);
        assert_eq!(own.finding, Finding::Circle);
        // A link on another domain of this edge may be stored to come back.
        let is_served = |host: &str| host == "links.other.example";
        let knowing = Served {
            is_served: Some(&is_served),
            ..served(Place::Domain)
        };
        for (url, finding) in [
            ("https://Links.other.example/r/x", Finding::Circle),
            ("https://links.other.example//C%2Fx", Finding::Circle),
            ("https://links.other.example/pricing", Finding::Valid),
            ("https://shop.example/r/x", Finding::Valid),
        ] {
            let found = told(text, Some((url, None)), &knowing);
            assert_eq!(
                (found.valid, found.finding),
                (finding == Finding::Valid, finding),
                "{url}"
            );
            assert_eq!(
                found.explanation.contains("links.other.example"),
                finding == Finding::Circle
            );
        }
        assert_eq!(told("https://a.example/r/%20b", None, &here).finding, Finding::Spelling);
        let kills = |tenant: &str, _: Option<Uuid>, _: &Destination<'_>| (tenant == "acme").then_some(KillKind::Tenant);
        let killing = Served {
            kills: Some(&kills),
            ..served(Place::Domain)
        };
        assert_eq!(told(text, Some((url, None)), &killing).killed, Some(KillKind::Tenant));
    }

    #[test]
    fn the_damage_is_guessed() {
        let explained = |text: &str| explain(text, None, &keys(), &["acme"], []).explanation;
        assert!(explained(&format!("{}=", click(1, "acme"))).contains("equals sign"));
        assert!(explained(&format!("{}),", click(1, "acme"))).contains("punctuation"));
        // A lower-cased open token keeps its length but not its first byte.
        assert!(explained(&click(1, "acme").to_ascii_lowercase()).contains("one case"));
    }

    proptest! {
        #[test]
        fn nothing_pasted_panics(text in "(https?://)?\\PC{0,120}") {
            prop_assert!(!explain(&text, None, &keys(), &["acme"], ["other"]).valid);
        }
    }
}
