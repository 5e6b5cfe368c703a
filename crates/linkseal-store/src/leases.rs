//! Leases and claims: which process works on what. Their fences keep out a process that lost its lease.
//!
//! A lease is measured by the store's clock, so that nodes whose clocks differ agree on when it ends.

use std::time::Duration;

use async_trait::async_trait;
use linkseal_domain::DomainName;
use uuid::Uuid;

use crate::StoreError;

/// Leases with fencing tokens, and the claims of due domains that are made of them.
#[async_trait]
pub trait LeaseStore: Send + Sync + 'static {
    /// Takes a lease if it is free, has expired, or is `owner`'s already. Every grant has a fence of its own,
    /// which ends the one before. `None`: another owner has it.
    async fn acquire_lease(&self, key: &LeaseKey, owner: Owner, ttl: Duration) -> Result<Option<Fence>, StoreError>;

    /// Prolongs leases to `ttl` from now. Returns those that hold; of the others another grant, a release or a
    /// purge has ended the fence.
    async fn renew_leases(&self, leases: &[Lease], ttl: Duration) -> Result<Vec<Lease>, StoreError>;

    /// Releases a lease, if its fence still holds: a domain is due again as its record says.
    async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError>;

    /// Releases every lease of a process that ends, or that has ended. Returns how many there were.
    async fn release_leases(&self, owner: Owner) -> Result<u64, StoreError>;

    /// Takes the leases of domains that are due ([`linkseal_domain::DomainRecord::next_due`]), most overdue
    /// first, and of no other: while a lease lasts, its domain is due for no other owner. Once it has expired,
    /// the domain is due again.
    async fn claim_due(&self, owner: Owner, ttl: Duration, limit: usize) -> Result<Vec<Claim>, StoreError>;

    /// How long until the next domain is due that is not due yet. `None`: nothing is scheduled.
    async fn next_due(&self) -> Result<Option<Duration>, StoreError>;
}

/// What a lease is on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LeaseKey {
    /// All work on a domain.
    Domain(DomainName),
    /// A task that one node of the fleet does, or one order that tries a CA.
    Task(String),
}

impl LeaseKey {
    pub fn task(name: impl Into<String>) -> Self {
        Self::Task(name.into())
    }
}

/// A process that can hold leases: one start of one node. Two processes never have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(Uuid);

impl Owner {
    /// One that there was never before.
    pub fn unique() -> Self {
        Self(Uuid::now_v7())
    }

    /// As stored by [`Self::uuid`].
    pub const fn of(uuid: Uuid) -> Self {
        Self(uuid)
    }

    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A fencing token: one grant of a lease to one owner. Writes under a former one are refused. It names the
/// owner because a database that lost its last commits may grant a number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    pub owner: Owner,
    pub number: u64,
}

/// A lease as its holder knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    pub key: LeaseKey,
    pub fence: Fence,
}

/// A due domain whose lease was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub name: DomainName,
    pub fence: Fence,
}
