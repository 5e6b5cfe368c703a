//! Proof of ownership. A token limited to one tenant takes a name only with its owner's consent: a TXT
//! record whose value stands for that tenant and that registered domain only, so that it can be shown to
//! the customer and stay published. Nothing is stored for it.
//!
//! Without the record, the answer is the same whether the name is free or another tenant's, so that a
//! tenant cannot find out which names others have.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use linkseal_dns::Proof;
use linkseal_domain::DomainName;
use linkseal_domain::cert::sealed::Sealer;
use linkseal_domain::name::registered_domain;
use linkseal_domain::record::Origin;
use linkseal_store::StoreError;

use super::{Operator, OperatorError};
use crate::core::Actor;
use crate::core::settings::Ownership;
use crate::fairness::lanes::Owner;

/// The DNS record with which a name's owner consents to a tenant's registration.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct OwnerRecord {
    /// The record type, `TXT`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The name that it is published at.
    pub host: String,
    /// The record data.
    pub value: String,
}

/// The label in front of the name.
const LABEL: &str = "_linkseal";
/// The prefix of the value.
const PREFIX: &str = "linkseal-owner=";
/// The purpose that the key is derived for.
const PURPOSE: &[u8] = b"linkseal/ownership/v1";
/// How many bytes of the HMAC-SHA256 the value carries: 160 bits cannot be guessed.
const LEN: usize = 20;
/// How long the check waits for its place.
const WAIT: Duration = Duration::from_secs(10);

/// Computes the records; every node with the same sealing key computes the same ones.
pub(super) struct OwnerRecords(hmac::Key);

impl OwnerRecords {
    pub(super) fn new(sealer: &Sealer) -> Self {
        Self(sealer.derive(PURPOSE))
    }

    /// The record for a tenant and a name; the same for all names below a registered domain.
    fn record(&self, tenant: &str, name: &DomainName) -> OwnerRecord {
        let registered = registered_domain(name.as_str());
        // Neither can contain a zero byte.
        let message = [tenant.as_bytes(), &[0], registered.as_bytes()].concat();
        let tag = hmac::sign(&self.0, &message);
        let tag = tag.as_ref().get(..LEN).unwrap_or_default();
        OwnerRecord {
            kind: "TXT",
            host: format!("{LABEL}.{registered}"),
            value: format!("{PREFIX}{}", hex::encode(tag)),
        }
    }
}

/// Whether a published text is the expected value; some editors put quotes or blanks around it.
fn is_value(text: &str, value: &str) -> bool {
    let text = text.trim().trim_matches('"').trim();
    verify_slices_are_equal(text.as_bytes(), value.as_bytes()).is_ok()
}

impl Operator {
    /// Refuses a name to an actor limited to one tenant that neither has it nor proves its owner's
    /// consent.
    pub(super) async fn check_ownership(&self, name: &DomainName, actor: &Actor) -> Result<(), OperatorError> {
        let Some(tenant) = actor.tenant.as_deref() else {
            return Ok(());
        };
        if self.core.settings().ownership == Ownership::None || self.has_name(tenant, name).await? {
            return Ok(());
        }
        let record = self.owner_records.record(tenant, name);
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
        let place = self.schedule.checks.places.enter_for_report(owners, WAIT);
        let _place = place.await.ok_or(OperatorError::Busy)?;
        let checker = self.core.checker();
        match checker.proof(&hosts, |text| is_value(text, &record.value)).await {
            Proof::Shown => Ok(()),
            Proof::Missing => Err(OperatorError::NotShown(name.clone(), Box::new(record))),
            Proof::Unanswered { host, error } => Err(OperatorError::NotAnswered { host, error }),
        }
    }

    /// Whether a name belongs to the tenant already. Admission by DNS alone gives no such right.
    async fn has_name(&self, tenant: &str, name: &DomainName) -> Result<bool, StoreError> {
        match self.core.store.domain(name).await {
            Ok(record) => Ok(record.is_some_and(|r| r.tenant == tenant && r.origin != Origin::Cname)),
            // Its tenant is unknown: only the owner gets on to the step that reports the record.
            Err(StoreError::Unreadable { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn owners(byte: u8) -> OwnerRecords {
        OwnerRecords::new(&Sealer::new(&Zeroizing::new([byte; 32])))
    }

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    #[test]
    fn a_value_stands_for_one_tenant_one_registered_domain_and_one_key() {
        let of = |tenant: &str, text: &str| owners(1).record(tenant, &name(text));
        let one = of("acme", "links.customer.co.uk");
        assert_eq!(one.host, "_linkseal.customer.co.uk");
        let digits = one.value.strip_prefix("linkseal-owner=").unwrap();
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        assert!(digits.len() == 40 && digits.chars().all(is_hex), "{digits}");
        // The same on every node and start with this key, and for every name below the registered domain.
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
    fn a_value_matches_despite_quotes_and_blanks() {
        for text in ["linkseal-owner=ab", " linkseal-owner=ab ", "\"linkseal-owner=ab\""] {
            assert!(is_value(text, "linkseal-owner=ab"), "{text}");
        }
        for text in ["", "ab", "linkseal-owner=", "linkseal-owner=abc", "linkseal-owner=a"] {
            assert!(!is_value(text, "linkseal-owner=ab"), "{text}");
        }
    }
}
