//! Leases: which node works on what. Their fences keep out a node that lost its lease.

use std::time::Duration;

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;

use crate::StoreError;

/// Leases with fencing tokens.
#[async_trait]
pub trait LeaseStore: Send + Sync + 'static {
    /// Takes the lease `key` for `owner` if it is free, has expired, or is `owner`'s already. Every grant
    /// has a larger fence than the one before. `None`: another owner has it.
    async fn acquire_lease(
        &self,
        key: &str,
        owner: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Option<Fence>, StoreError>;

    /// Releases a lease, if the fence still holds.
    async fn release_lease(&self, key: &str, fence: Fence) -> Result<(), StoreError>;
}

/// The key of the lease under which a domain is worked on.
pub fn domain_lease(name: &DomainName) -> String {
    format!("domain/{name}")
}

/// A fencing token, which grows with every grant of a lease; writes with an old one are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub u64);
