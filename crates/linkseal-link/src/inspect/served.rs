//! How an edge serves a link that verifies: where the link stands, its age, where it points, and the kill
//! switches it meets.

use std::time::Duration;

use uuid::Uuid;

use super::{Finding, Inspection, date};
use crate::destination::Destination;
use crate::kill_kind::KillKind;
use crate::pasted::{Pasted, Place};
use crate::path::{after, points_to_link, slugs_in};
use crate::slug::SlugError;
use crate::token::Kind;

/// What decides, beyond its signature, whether an edge serves a link; for [`Inspection::as_served`].
pub struct Served<'a> {
    /// The current time, in Unix seconds.
    pub now: u64,
    /// `links.max_age`; without one links do not expire.
    pub max_age: Option<Duration>,
    /// `links.prefix`, without a trailing slash.
    pub prefix: &'a str,
    /// What the link's host is to the edge.
    pub place: Place,
    /// Whether a host is a served domain; `None` where the domains are not known.
    pub is_served: Option<&'a dyn Fn(&str) -> bool>,
    /// The kill switches; `None` where they are not known.
    pub kills: Option<&'a KillLookup<'a>>,
}

/// The kill switch that applies to a tenant, a message and a destination.
pub type KillLookup<'a> = dyn Fn(&str, Option<Uuid>, &Destination<'_>) -> Option<KillKind> + 'a;

impl Inspection {
    /// Refines the inspection of a valid link by what the edge checks when it serves one: host and path, age,
    /// destination, kill switches. `text` is what was inspected.
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
                    "the token is valid, but here it belongs under {}/{letter}/",
                    served.prefix
                );
                return self.refused(Finding::WrongPath, &place);
            }
        }
        let age = self
            .issued_at
            .map(|at| Duration::from_secs(served.now.saturating_sub(u64::from(at))));
        let too_old = served.max_age.zip(age).is_some_and(|(max, age)| age > max);
        if too_old && self.kind != Some(Kind::Unsubscribe) {
            let issued = date(u64::from(self.issued_at.unwrap_or_default()));
            return self.refused(
                Finding::TooOld,
                &format!("minted at {issued}, which is older than links.max_age allows"),
            );
        }
        match (self.destination.take(), self.tenant.clone()) {
            (Some(url), Some(tenant)) => self.check_destination(url, &tenant, served, false),
            (destination, _) => {
                self.destination = destination;
                self
            }
        }
    }

    /// Completes the inspection of a stored redirect. `stored` is its slug, URL and expiry, if there is one;
    /// `tenant` owns the domain; `text` is what was inspected.
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
                &format!("no redirect {slug} is stored for this domain or for all domains"),
            );
        };
        self.set_ignored(after(&slug, found), pasted.tail());
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
        "the redirect is stored and served".clone_into(&mut self.explanation);
        self.check_destination(url.to_owned(), tenant, served, true)
    }

    /// Checks the destination for loops and kill switches. `stored`: of a stored redirect.
    fn check_destination(mut self, url: String, tenant: &str, served: &Served<'_>, stored: bool) -> Self {
        let (mut own, mut other, mut killed) = (false, None, None);
        if let Ok(destination) = Destination::new(&url) {
            own = self.name().is_some_and(|host| destination.has_host(&host));
            let known = served.is_served.filter(|_| stored);
            other = known
                .filter(|known| points_to_link(&destination, served.prefix, known))
                .and_then(|_| destination.ascii_host().map(|host| host.into_owned()));
            killed = served.kills.and_then(|hit| hit(tenant, self.message_id, &destination));
        }
        self.destination = Some(url);
        if own {
            return self.refused(
                Finding::Circle,
                "its destination is on its own host and could redirect in a loop",
            );
        }
        if let Some(host) = other {
            return self.refused(
                Finding::Circle,
                &format!("its destination is a link on {host}, a domain of this edge, and could redirect in a loop: store that link's own destination instead"),
            );
        }
        if let Some(kind) = killed {
            self.killed = Some(kind);
            return self.refused(
                Finding::Killed,
                &format!("killed by {}; visitors see a warning page", kind.as_str()),
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
            &format!("{host} is not a domain of this edge: register it, or mint links for the right domain{whose}"),
        )
    }
}
