//! Whose a name is. A token that is kept to one tenant takes a name only with its owner's word for
//! it: a TXT record whose value stands for that tenant and that registered domain and for nothing
//! else, so that it can be shown to the customer, and left in place. Nothing is stored for it.
//!
//! Without the record the answer is the same whether the name is free or another tenant's: who
//! holds which name is no business of those who do not own it.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use linkseal_dns::Proof;
use linkseal_domain::DomainName;
use linkseal_domain::cert::sealed::Sealer;
use linkseal_domain::name::registered_domain;
use linkseal_domain::record::Origin;
use linkseal_store::StoreError;
use tokio::time::timeout;

use super::Control;
use super::input::{Actor, OperatorError};
use super::lanes::Owner;
use super::queue::Priority;

/// What a token of one tenant needs to take a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// A TXT record at the name, or at its registered domain.
    #[default]
    Txt,
    /// Nothing.
    None,
}

/// The record that shows that a name's owner wants it to be a tenant's.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct OwnerRecord {
    /// Its type, `TXT`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where it stands.
    pub host: String,
    /// Its value.
    pub value: String,
}

/// The label in front of the name.
const LABEL: &str = "_linkseal";
/// What the value begins with.
const PREFIX: &str = "linkseal-owner=";
/// What the key is derived for.
const PURPOSE: &[u8] = b"linkseal/ownership/v1";
/// How many bytes of the HMAC-SHA256 stand in the value: 160 bits are beyond guessing.
const LEN: usize = 20;
/// How long a look waits for its place.
const WAIT: Duration = Duration::from_secs(10);

/// Knows the values. Every node that has the sealing key knows the same ones.
pub(super) struct Owners(hmac::Key);

impl Owners {
    pub(super) fn new(sealer: &Sealer) -> Self {
        Self(sealer.derive(PURPOSE))
    }

    /// The record for a tenant and a name: one for all names below a registered domain.
    fn record(&self, tenant: &str, name: &DomainName) -> OwnerRecord {
        let registered = registered_domain(name.as_str());
        // Neither can hold a zero byte.
        let said = [tenant.as_bytes(), &[0], registered.as_bytes()].concat();
        let tag = hmac::sign(&self.0, &said);
        let tag = tag.as_ref().get(..LEN).unwrap_or_default();
        OwnerRecord {
            kind: "TXT",
            host: format!("{LABEL}.{registered}"),
            value: format!("{PREFIX}{}", hex::encode(tag)),
        }
    }
}

/// Whether a published text is the value asked for; some editors put quotes or blanks around it.
fn is_value(text: &str, value: &str) -> bool {
    let text = text.trim().trim_matches('"').trim();
    verify_slices_are_equal(text.as_bytes(), value.as_bytes()).is_ok()
}

impl Control {
    /// Refuses a name to anyone who is kept to one tenant and neither holds it nor shows its owner's word.
    pub(super) async fn must_own(&self, name: &DomainName, actor: &Actor) -> Result<(), OperatorError> {
        let Some(tenant) = actor.tenant.as_deref() else {
            return Ok(());
        };
        if self.inner.settings.load().ownership == Ownership::None || self.holds(tenant, name).await? {
            return Ok(());
        }
        let record = self.inner.owners.record(tenant, name);
        let own = format!("{LABEL}.{name}");
        let hosts = if own == record.host {
            vec![own]
        } else {
            vec![record.host.clone(), own]
        };
        let owners = vec![
            Owner::Tenant(tenant.into()),
            Owner::Zone(registered_domain(name.as_str()).into()),
            Owner::Token(actor.who.as_str().into()),
        ];
        let place = self.inner.looks.for_people(Priority::Verify, owners);
        let _place = timeout(WAIT, place).await.map_err(|_| OperatorError::Busy)?;
        let checker = std::sync::Arc::clone(&self.tools().checker);
        match checker.proof(&hosts, |text| is_value(text, &record.value)).await {
            Proof::Shown => Ok(()),
            Proof::Missing => Err(OperatorError::NotShown(name.clone(), Box::new(record))),
            Proof::Unanswered { host, error } => Err(OperatorError::NotAnswered { host, error }),
        }
    }

    /// Whether a name is the tenant's already: one that nothing but its DNS has admitted is not.
    async fn holds(&self, tenant: &str, name: &DomainName) -> Result<bool, StoreError> {
        match self.inner.store.domain(name).await {
            Ok(record) => Ok(record.is_some_and(|r| r.tenant == tenant && r.origin != Origin::Cname)),
            // Whose it is cannot be read; what is done with it is refused later, to its owner.
            Err(StoreError::Unreadable { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn owners(byte: u8) -> Owners {
        Owners::new(&Sealer::new(&Zeroizing::new([byte; 32])))
    }

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    #[test]
    fn a_value_is_of_one_tenant_one_registered_domain_and_one_key() {
        let of = |tenant: &str, text: &str| owners(1).record(tenant, &name(text));
        let one = of("acme", "links.customer.co.uk");
        assert_eq!(one.host, "_linkseal.customer.co.uk");
        let digits = one.value.strip_prefix("linkseal-owner=").unwrap();
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        assert!(digits.len() == 40 && digits.chars().all(is_hex), "{digits}");
        // Every node and every start with this key, and every name below the registered domain.
        assert_eq!(one, of("acme", "other.customer.co.uk"));
        assert_eq!(one, of("acme", "customer.co.uk"));
        let others = [
            of("acme2", "links.customer.co.uk"),
            of("acme", "links.customer2.co.uk"),
            owners(2).record("acme", &name("links.customer.co.uk")),
            of("acmec", "ustomer.co.uk"),
        ];
        for other in others {
            assert_ne!(one.value, other.value);
        }
    }

    #[test]
    fn a_value_is_known_with_what_editors_put_around_it() {
        for text in ["linkseal-owner=ab", " linkseal-owner=ab ", "\"linkseal-owner=ab\""] {
            assert!(is_value(text, "linkseal-owner=ab"), "{text}");
        }
        for text in ["", "ab", "linkseal-owner=", "linkseal-owner=abc", "linkseal-owner=a"] {
            assert!(!is_value(text, "linkseal-owner=ab"), "{text}");
        }
    }
}
