//! Share links: anyone who has one sees one domain's page and may verify the domain, without a token,
//! a session or a cookie, so that it works in a frame on another site, too.
//!
//! A link holds the domain and its expiry, signed; nothing is stored for it. It is bound to the domain
//! as it was shared: it stops working when the links are revoked, and when the domain moves to another
//! tenant or is purged and registered again.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use linkseal_base::clock::Timestamp;
use linkseal_domain::{DomainName, DomainRecord, Language};
use parking_lot::Mutex;

use super::signing::{PagesKey, Signer};
use crate::i18n::with_language;
use crate::limits::rate::{Rate, Used};

/// The path of a shared page.
pub(crate) const PATH: &str = "/share/{token}";

const VERSION: u8 = 1;
const EPOCH_LEN: usize = 16;
/// Requests per link: a page refreshes every 1.5 s while an order is in progress.
const VIEWS: Rate = Rate {
    burst: 120,
    one_per: Duration::from_millis(500),
};
/// Of these, requests that check DNS or change something: each causes a dozen queries.
const CHECKS: Rate = Rate {
    burst: 10,
    one_per: Duration::from_secs(15),
};
/// Links whose use is counted at a time, each for some minutes after its last use.
const MAX_IN_USE: usize = 10_000;

/// What a request by a share link costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShareUse {
    /// It shows what is known.
    View,
    /// It checks DNS, or changes something.
    Check,
}

/// Creates and opens share links, and counts their use.
pub(crate) struct Shares {
    links: Signer,
    forms: Signer,
    in_use: Mutex<HashMap<String, Uses>>,
}

#[derive(Clone, Copy, Default)]
struct Uses {
    views: Used,
    checks: Used,
}

/// The content of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) name: DomainName,
    expires: Timestamp,
    epoch: [u8; EPOCH_LEN],
}

impl Shares {
    pub(crate) fn new(key: &PagesKey) -> Self {
        Self {
            links: key.signer("shares"),
            forms: key.signer("share forms"),
            in_use: Mutex::default(),
        }
    }

    /// The path of a new link. `expires`: in whole seconds. `language`: else that of the visitor's browser.
    pub(crate) fn path(&self, record: &DomainRecord, expires: Timestamp, language: Option<Language>) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&expires.as_secs().to_be_bytes());
        bytes.extend_from_slice(&epoch(record));
        bytes.extend_from_slice(record.name.as_str().as_bytes());
        let path = PATH.replace("{token}", &self.links.wrap(bytes));
        match language {
            Some(language) => with_language(&path, language),
            None => path,
        }
    }

    /// Opens a link; `None` if it is forged or has expired.
    pub(crate) fn open(&self, token: &str, now: Timestamp) -> Option<Link> {
        let bytes = self.links.unwrap(token)?;
        let (&[version], rest) = bytes.split_first_chunk()?;
        let (expires, rest) = rest.split_first_chunk()?;
        let (epoch, name) = rest.split_first_chunk()?;
        let link = Link {
            name: DomainName::parse(str::from_utf8(name).ok()?).ok()?,
            expires: Timestamp::from_secs(i64::from_be_bytes(*expires)),
            epoch: *epoch,
        };
        (version == VERSION && now < link.expires).then_some(link)
    }

    /// Counts a use of a link. When there were too many, the error is when it may be used again.
    pub(crate) fn take(&self, token: &str, kind: ShareUse, now: Timestamp) -> Result<(), Timestamp> {
        let mut all = self.in_use.lock();
        if all.len() >= MAX_IN_USE && !all.contains_key(token) {
            all.retain(|_, u| !u.views.is_full_again(now) || !u.checks.is_full_again(now));
            // A valid link is never refused because of others: the count of one of those is dropped.
            if all.len() >= MAX_IN_USE
                && let Some(any) = all.keys().next().cloned()
            {
                all.remove(&any);
            }
        }
        let uses = all.entry(token.to_owned()).or_default();
        let until = uses.views.until(VIEWS, now);
        let checks = uses.checks.until(CHECKS, now).filter(|_| kind == ShareUse::Check);
        if let Some(until) = until.max(checks) {
            return Err(until);
        }
        uses.views.take(VIEWS, now);
        if kind == ShareUse::Check {
            uses.checks.take(CHECKS, now);
        }
        Ok(())
    }

    /// The form token of a shared page, sent beside the link itself in the address.
    pub(crate) fn form_token(&self, token: &str) -> String {
        self.forms.text(token.as_bytes())
    }

    pub(crate) fn is_form_token(&self, text: &str, token: &str) -> bool {
        self.forms.is_text_of(text, token.as_bytes())
    }
}

impl Link {
    /// Whether the domain is still the one that was shared.
    pub(crate) fn is_of(&self, record: &DomainRecord) -> bool {
        self.name == record.name && verify_slices_are_equal(&self.epoch, &epoch(record)).is_ok()
    }
}

/// Changes whenever the links to a domain must stop working.
fn epoch(record: &DomainRecord) -> [u8; EPOCH_LEN] {
    let mut bytes = record.share_generation.to_be_bytes().to_vec();
    bytes.extend_from_slice(&record.created.as_millis().to_be_bytes());
    bytes.extend_from_slice(record.tenant.as_bytes());
    let mut epoch = [0; EPOCH_LEN];
    for (to, from) in epoch.iter_mut().zip(digest(&SHA256, &bytes).as_ref()) {
        *to = *from;
    }
    epoch
}

#[cfg(test)]
mod tests {
    use linkseal_domain::record::Origin;

    use super::*;
    use crate::tokens::signing::test_key;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const LATER: Timestamp = Timestamp::from_secs(1_800_000_600);

    fn record() -> DomainRecord {
        let name = DomainName::parse("links.customer.example").unwrap();
        DomainRecord::new(name, None, Origin::Registered, NOW)
    }

    fn token(shares: &Shares, record: &DomainRecord) -> String {
        let path = shares.path(record, LATER, Some(Language::De));
        let (path, query) = path.split_once('?').unwrap();
        assert_eq!(query, "lang=de");
        path.strip_prefix("/share/").unwrap().to_owned()
    }

    #[test]
    fn a_link_opens_its_domain_until_it_expires() {
        let (shares, record) = (Shares::new(&test_key(1)), record());
        let token = token(&shares, &record);
        let link = shares.open(&token, NOW).unwrap();
        assert_eq!(link.name, record.name);
        assert!(link.is_of(&record));
        assert_eq!(shares.open(&token, LATER), None);
        assert_eq!(Shares::new(&test_key(2)).open(&token, NOW), None);
        // Any node with the key opens it.
        assert_eq!(Shares::new(&test_key(1)).open(&token, NOW), Some(link));
    }

    #[test]
    fn an_altered_link_opens_nothing() {
        let shares = Shares::new(&test_key(1));
        let token = token(&shares, &record());
        for i in 0..token.len() {
            let mut other = token.clone().into_bytes();
            other[i] = if other[i] == b'x' { b'y' } else { b'x' };
            assert_eq!(shares.open(str::from_utf8(&other).unwrap(), NOW), None, "{i}");
        }
    }

    #[test]
    fn a_link_ends_when_the_domain_moves_is_registered_again_or_links_are_revoked() {
        let (shares, shared) = (Shares::new(&test_key(1)), record());
        let link = shares.open(&token(&shares, &shared), NOW).unwrap();
        let mut moved = shared.clone();
        moved.tenant = "another".to_owned();
        let mut revoked = shared.clone();
        revoked.share_generation += 1;
        let mut registered_again = shared.clone();
        registered_again.created = LATER;
        for other in [moved, revoked, registered_again] {
            assert!(!link.is_of(&other), "{other:?}");
        }
    }

    #[test]
    fn the_use_of_a_link_is_bounded() {
        let shares = Shares::new(&test_key(1));
        for _ in 0..CHECKS.burst {
            assert_eq!(shares.take("one", ShareUse::Check, NOW), Ok(()));
        }
        assert_eq!(shares.take("one", ShareUse::Check, NOW), Err(NOW + CHECKS.one_per));
        assert_eq!(shares.take("other", ShareUse::Check, NOW), Ok(()));
        for _ in CHECKS.burst..VIEWS.burst {
            assert_eq!(shares.take("one", ShareUse::View, NOW), Ok(()));
        }
        assert!(shares.take("one", ShareUse::View, NOW).is_err());
        assert_eq!(shares.take("one", ShareUse::Check, NOW + CHECKS.one_per), Ok(()));
        // Unused links are dropped.
        for i in 0..MAX_IN_USE {
            let _ = shares.take(&i.to_string(), ShareUse::View, NOW);
        }
        // However many are in use, one more works, and the number remembered stays bounded.
        assert_eq!(shares.take("new", ShareUse::View, NOW), Ok(()));
        assert!(shares.in_use.lock().len() <= MAX_IN_USE);
        shares
            .take("later", ShareUse::View, NOW + Duration::from_secs(3600))
            .unwrap();
        assert_eq!(shares.in_use.lock().len(), 1);
    }
}
