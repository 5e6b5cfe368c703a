//! Purging a domain, with or without revoking its certificate.

use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::StoreError;
use serde_json::{Value, json};

use super::{Operator, OperatorError, must_be_theirs};
use crate::core::Actor;
use crate::core::change::MAX_CONFLICTS;

/// The revocation reason of a purged domain (RFC 5280 §5.3.1).
const CESSATION_OF_OPERATION: u8 = 5;

impl Operator {
    /// Purges a domain: its record, keys and certificate, now.
    pub async fn purge(&self, name: &DomainName, actor: &Actor) -> Result<(), OperatorError> {
        let _turn = self.core.change_turn(actor, name).await;
        // Other nodes may change it meanwhile; it is to go in any version.
        for _ in 0..MAX_CONFLICTS {
            let gone = match self.core.store.domain(name).await {
                Ok(Some(_)) if self.core.settings().names.contains(name.as_str()) => {
                    return Err(OperatorError::OwnName);
                }
                Ok(Some(record)) => {
                    must_be_theirs(&record, actor)?;
                    self.schedule.forget(&record, actor).await
                }
                Ok(None) => return Err(OperatorError::NotFound),
                Err(StoreError::Unreadable { why, .. }) => self.purge_unreadable(name, &why, actor).await,
                Err(error) => Err(error),
            };
            match gone {
                Err(StoreError::Conflict) => {}
                gone => return Ok(gone?),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Purges whatever is stored under this name, even if it is not a valid one.
    pub async fn purge_stored(&self, stored: &str, actor: &Actor) -> Result<(), OperatorError> {
        let name = DomainName::parse(stored);
        let known = match &name {
            Ok(name) => self.purge(name, actor).await,
            Err(_) => Err(OperatorError::NotFound),
        };
        if !matches!(known, Err(OperatorError::NotFound)) || actor.tenant.is_some() {
            return known;
        }
        let audit = self.audit_entry(actor, "purge", stored, json!({"unreadable": stored}), Value::Null);
        match (self.core.store.purge_unreadable(stored, audit).await, name) {
            (Err(StoreError::NotFound), Err(error)) => Err(error.into()),
            (Err(StoreError::NotFound | StoreError::Conflict), Ok(_)) => Err(OperatorError::NotFound),
            (gone, _) => Ok(gone?),
        }
    }

    /// Purges a domain whose record cannot be read. The edge's own name is registered again at once.
    pub(super) async fn purge_unreadable(&self, name: &DomainName, why: &str, actor: &Actor) -> Result<(), StoreError> {
        self.schedule.forget_unreadable(name, why, actor).await?;
        if self.core.settings().names.contains(name.as_str()) {
            self.register_own_name(name).await?;
        }
        Ok(())
    }

    /// Revokes a domain's certificate at the CA that issued it, and then purges the domain. If the
    /// revocation fails, nothing is purged: the key is needed to try again.
    pub async fn revoke_and_purge(&self, name: &DomainName, actor: &Actor) -> Result<(), OperatorError> {
        if self.core.settings().names.contains(name.as_str()) {
            return Err(OperatorError::OwnName);
        }
        let record = self.core.store.domain(name).await?.ok_or(OperatorError::NotFound)?;
        must_be_theirs(&record, actor)?;
        let mut revoked = self.revoke(&record, actor).await?;
        let (created, mut record) = (record.created, record);
        // The CA took its time: a change since then is taken into account, and a certificate issued
        // since then is revoked too. A domain added since then under the same name stays.
        let mut turn = Some(self.core.change_turn(actor, name).await);
        for _ in 0..MAX_CONFLICTS {
            let current = match self.schedule.forget(&record, actor).await {
                Ok(()) => return Ok(()),
                // Purged by another caller meanwhile.
                Err(StoreError::NotFound) if revoked => return Ok(()),
                Err(StoreError::Conflict) => self.core.store.domain(name).await,
                Err(error) => Err(error),
            };
            let failed = |error| match revoked {
                true => OperatorError::RevokedOnly(error),
                false => error.into(),
            };
            let current = current.map_err(failed)?.filter(|now| now.created == created);
            let current = current.ok_or(StoreError::Conflict).map_err(failed)?;
            if serial(&current) != serial(&record) {
                // Other changes need not wait for the CA.
                drop(turn.take());
                revoked |= self.revoke(&current, actor).await?;
                turn = Some(self.core.change_turn(actor, name).await);
            }
            record = current;
        }
        Err(StoreError::Conflict.into())
    }

    /// Revokes the domain's certificate; returns whether there was one to revoke.
    async fn revoke(&self, record: &DomainRecord, actor: &Actor) -> Result<bool, OperatorError> {
        let (name, now) = (&record.name, self.core.clock.now());
        let Some(held) = record.ssl.certificate.as_ref().filter(|c| c.not_after > now) else {
            return Ok(false);
        };
        let Some(stored) = self.core.store.certificate(name).await? else {
            return Ok(false);
        };
        let cas = self.core.cas();
        let Some(ca) = cas.find(&held.ca) else {
            let why = format!("its CA, {}, is not configured any more", held.ca);
            return Err(OperatorError::NotRevoked(why));
        };
        let revoked = ca.issuer.revoke(&stored.chain_pem, CESSATION_OF_OPERATION).await;
        revoked.map_err(|failure| OperatorError::NotRevoked(failure.error.detail))?;
        let before = json!({"serial": held.serial, "ca": held.ca, "not_after": held.not_after});
        let after = json!({"revoked": "cessationOfOperation"});
        let audit = self.audit_entry(actor, "revoke", name, before, after);
        self.core
            .store
            .append_audit(audit)
            .await
            .map_err(OperatorError::RevokedOnly)?;
        Ok(true)
    }
}

fn serial(record: &DomainRecord) -> Option<&str> {
    record.ssl.certificate.as_ref().map(|c| c.serial.as_str())
}
