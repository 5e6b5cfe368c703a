//! The inputs and results of [`crate::Issuer::issue`].

use std::sync::Arc;

use linkseal_domain::DomainName;
use linkseal_domain::cert::certificate::Certificate;
use linkseal_domain::ssl::{CertificateInfo, Failure};
use linkseal_store::{Fence, StoreError, StoredCertificate};

/// A certificate to obtain.
#[derive(Clone, Debug)]
pub struct Job {
    pub name: DomainName,
    /// ARI id (RFC 9773 §4.1) of the certificate that it replaces. `None`: there is none, or the CA
    /// refuses the order as a replacement.
    pub replaces: Option<String>,
    /// Whether it was admitted as the resumption of an order that the CA has counted: no new order is
    /// placed.
    pub resumes: bool,
    /// The lease under which the order is made.
    pub fence: Fence,
}

/// The progress of an order, reported while [`crate::Issuer::issue`] runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The CA has the order, new or resumed.
    Ordered,
    /// The CA is validating the challenge.
    Validating,
}

/// An obtained certificate, ready for the store.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The chain, with the key sealed for `certificates/{name}`.
    pub certificate: StoredCertificate,
    /// The same, ready to be served.
    pub served: Arc<Certificate>,
    /// Its contents, and when to renew it.
    pub info: CertificateInfo,
}

/// What an attempt used up of the CA's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// Nothing: no order was requested.
    Nothing,
    /// One order.
    Order,
    /// One certificate, which cannot be used.
    Certificate,
}

/// Why no certificate was obtained.
#[derive(Debug)]
pub enum IssueError {
    /// The attempt failed.
    Failed {
        failure: Failure,
        /// Whether the order is still open. If its record is kept, the next [`crate::Issuer::issue`]
        /// resumes it and spends no new order.
        resumable: bool,
        /// What it used up of the CA's limits.
        spent: Spent,
    },
    /// The order to resume is no longer usable. A new one has to be admitted first.
    Gone,
    /// The CA refuses the order as a replacement. An order without `replaces` counts against the CA's
    /// limits, and has to be admitted first.
    NotAsReplacement,
    /// Another node has taken over the domain, and continues the order.
    Fenced,
    /// The store cannot be read or written; the order, if there is one, is resumed later.
    Store(StoreError),
}

impl From<StoreError> for IssueError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
