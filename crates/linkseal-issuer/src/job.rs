//! What the control plane hands to an issuer, and what it gets back.

use std::sync::Arc;

use linkseal_domain::DomainName;
use linkseal_domain::cert::certificate::Certificate;
use linkseal_domain::ssl::{CertificateInfo, Failure};
use linkseal_store::{Fence, StoreError, StoredCertificate};

/// A certificate to be obtained.
#[derive(Clone, Debug)]
pub struct Job {
    /// For this name.
    pub name: DomainName,
    /// ARI id of the certificate it replaces. `None`: it is the first, or the other is not to be named.
    pub replaces: Option<String>,
    /// Whether it was admitted as one that the CA has counted already: no new order is placed.
    pub resumes: bool,
    /// The lease under which the order is made.
    pub fence: Fence,
}

/// How far an order has come; said while [`crate::Issuer::issue`] runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The CA has the order, new or taken up.
    Ordered,
    /// The CA looks at the challenge.
    Validating,
}

/// A certificate obtained, ready for the store.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The chain, with the key sealed for `certificates/{name}`.
    pub certificate: StoredCertificate,
    /// The same, ready to be served.
    pub served: Arc<Certificate>,
    /// What it says, and when to renew it.
    pub info: CertificateInfo,
}

/// What of the CA's limits an attempt has used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// Nothing: it was not asked for an order.
    Nothing,
    /// An order.
    Order,
    /// A certificate, though none that can be used.
    Certificate,
}

/// Why no certificate was obtained.
#[derive(Debug)]
pub enum IssueError {
    /// The attempt failed.
    Failed {
        /// How.
        failure: Failure,
        /// Whether the order lives on, so that its record is better kept: the next
        /// [`crate::Issuer::issue`] goes on with it and spends no new order.
        resumable: bool,
        /// What of the CA's limits it has used up.
        spent: Spent,
    },
    /// The order that was to be taken up is of no use any more. A new one has to be admitted first.
    Gone,
    /// The CA takes no order that names what it replaces. One that does not counts against its
    /// limits, and has to be admitted first.
    NotAsReplacement,
    /// Another node has taken the domain over and goes on with the order.
    Fenced,
    /// The store cannot be read or written; the order, if there is one, is taken up later.
    Store(StoreError),
}

impl From<StoreError> for IssueError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
