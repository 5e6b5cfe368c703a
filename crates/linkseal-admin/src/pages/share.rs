//! Share links: anyone who has one sees one domain's page and may have it verified, without a token,
//! a session or a cookie, so that it works in a frame on another site too.
//!
//! A link is the domain and its end, signed. It stands for the domain as it was shared: it opens
//! nothing any more when the links were taken back, when the domain was moved to another tenant, or
//! forgotten and registered again. Nothing is stored for it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use linkseal_base::clock::Timestamp;
use linkseal_domain::{DomainName, DomainRecord, Language};

use super::key::{PagesKey, Signer};
use super::visitor::with_language;
use crate::throttle::{Rate, Used};

/// What the path of a shared page begins with; the link's token follows.
pub(super) const PREFIX: &str = "/share/{token}";

const VERSION: u8 = 1;
const EPOCH_LEN: usize = 16;
/// Requests by one link: a page looks again every 1.5 s while something is on its way.
const LOOKS: Rate = Rate {
    burst: 120,
    one_per: Duration::from_millis(500),
};
/// Of these, how many may ask the domain's DNS, or change something: each is a dozen queries.
const CHECKS: Rate = Rate {
    burst: 10,
    one_per: Duration::from_secs(15),
};
/// Links counted at a time; each for some minutes after its last use.
const MAX_IN_USE: usize = 10_000;

/// How much of someone with a share link a page takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shared {
    /// It is not for them.
    No,
    /// It shows what is known.
    Looks,
    /// It asks the domain's DNS, or changes something.
    Checks,
}

/// Makes and knows share links.
pub(crate) struct Shares {
    links: Signer,
    forms: Signer,
    in_use: Mutex<HashMap<String, Uses>>,
}

#[derive(Clone, Copy, Default)]
struct Uses {
    looks: Used,
    checks: Used,
}

/// What stands in a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: DomainName,
    expires: Timestamp,
    epoch: [u8; EPOCH_LEN],
}

impl Shares {
    pub(super) fn new(key: &PagesKey) -> Self {
        Self {
            links: key.signer("shares"),
            forms: key.signer("share forms"),
            in_use: Mutex::default(),
        }
    }

    /// The path of a new link. `expires`: in whole seconds. `language`: `None` for the visitor's own.
    pub(crate) fn path(&self, record: &DomainRecord, expires: Timestamp, language: Option<Language>) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&expires.as_secs().to_be_bytes());
        bytes.extend_from_slice(&epoch(record));
        bytes.extend_from_slice(record.name.as_str().as_bytes());
        let path = PREFIX.replace("{token}", &self.links.wrap(bytes));
        match language {
            Some(language) => with_language(&path, language),
            None => path,
        }
    }

    /// What stands in a link. `None`: it is not from here, or its time is over.
    pub(super) fn open(&self, token: &str, now: Timestamp) -> Option<Link> {
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

    /// Counts a use of a link; else says when it may be used again.
    pub(super) fn take(&self, token: &str, kind: Shared, now: Timestamp) -> Result<(), Timestamp> {
        let mut all = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_IN_USE && !all.contains_key(token) {
            all.retain(|_, u| !u.looks.is_full_again(now) || !u.checks.is_full_again(now));
            // A right link is not refused since others are in use: one of those is forgotten.
            if all.len() >= MAX_IN_USE
                && let Some(any) = all.keys().next().cloned()
            {
                all.remove(&any);
            }
        }
        let uses = all.entry(token.to_owned()).or_default();
        let until = uses.looks.until(LOOKS, now);
        let checks = uses.checks.until(CHECKS, now).filter(|_| kind == Shared::Checks);
        if let Some(until) = until.max(checks) {
            return Err(until);
        }
        uses.looks.take(LOOKS, now);
        if kind == Shared::Checks {
            uses.checks.take(CHECKS, now);
        }
        Ok(())
    }

    /// What the forms of a shared page carry, beside the link itself in their address.
    pub(super) fn form_token(&self, token: &str) -> String {
        self.forms.text(token.as_bytes())
    }

    pub(super) fn is_form_token(&self, text: &str, token: &str) -> bool {
        self.forms.is_text_of(text, token.as_bytes())
    }
}

impl Link {
    /// Whether the domain is still what was shared.
    pub(super) fn is_of(&self, record: &DomainRecord) -> bool {
        self.name == record.name && verify_slices_are_equal(&self.epoch, &epoch(record)).is_ok()
    }
}

/// What changes when the links to a domain are to end.
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

    use super::super::key::test_key;
    use super::*;

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
    fn a_link_opens_its_domain_until_its_end() {
        let (shares, record) = (Shares::new(&test_key(1)), record());
        let token = token(&shares, &record);
        let link = shares.open(&token, NOW).unwrap();
        assert_eq!(link.name, record.name);
        assert!(link.is_of(&record));
        assert_eq!(shares.open(&token, LATER), None);
        assert_eq!(Shares::new(&test_key(2)).open(&token, NOW), None);
        // Every node that has the key.
        assert_eq!(Shares::new(&test_key(1)).open(&token, NOW), Some(link));
    }

    #[test]
    fn a_link_that_was_changed_opens_nothing() {
        let shares = Shares::new(&test_key(1));
        let token = token(&shares, &record());
        for i in 0..token.len() {
            let mut other = token.clone().into_bytes();
            other[i] = if other[i] == b'x' { b'y' } else { b'x' };
            assert_eq!(shares.open(str::from_utf8(&other).unwrap(), NOW), None, "{i}");
        }
    }

    #[test]
    fn a_domain_that_was_moved_renewed_or_closed_is_another() {
        let (shares, shared) = (Shares::new(&test_key(1)), record());
        let link = shares.open(&token(&shares, &shared), NOW).unwrap();
        let mut moved = shared.clone();
        moved.tenant = "another".to_owned();
        let mut closed = shared.clone();
        closed.share_generation += 1;
        let mut anew = shared.clone();
        anew.created = LATER;
        for other in [moved, closed, anew] {
            assert!(!link.is_of(&other), "{other:?}");
        }
    }

    #[test]
    fn a_link_is_used_in_bounds() {
        let shares = Shares::new(&test_key(1));
        for _ in 0..CHECKS.burst {
            assert_eq!(shares.take("one", Shared::Checks, NOW), Ok(()));
        }
        assert_eq!(shares.take("one", Shared::Checks, NOW), Err(NOW + CHECKS.one_per));
        assert_eq!(shares.take("other", Shared::Checks, NOW), Ok(()));
        for _ in CHECKS.burst..LOOKS.burst {
            assert_eq!(shares.take("one", Shared::Looks, NOW), Ok(()));
        }
        assert!(shares.take("one", Shared::Looks, NOW).is_err());
        assert_eq!(shares.take("one", Shared::Checks, NOW + CHECKS.one_per), Ok(()));
        // What is not used is forgotten.
        for i in 0..MAX_IN_USE {
            let _ = shares.take(&i.to_string(), Shared::Looks, NOW);
        }
        // However many are in use, one more works, and no more than so many are remembered.
        assert_eq!(shares.take("new", Shared::Looks, NOW), Ok(()));
        assert!(shares.in_use.lock().unwrap().len() <= MAX_IN_USE);
        shares
            .take("later", Shared::Looks, NOW + Duration::from_secs(3600))
            .unwrap();
        assert_eq!(shares.in_use.lock().unwrap().len(), 1);
    }
}
