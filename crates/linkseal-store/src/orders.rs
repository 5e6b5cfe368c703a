//! Open orders: what a restart needs to resume them.

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::leases::Fence;

/// Orders that have not ended.
#[async_trait]
pub trait OrderStore: Send + Sync + 'static {
    /// Writes the order of a domain before a step that cannot be repeated. The fence must hold,
    /// as in [`crate::DomainStore::transition`].
    async fn put_order(&self, order: &OrderRecord, fence: Fence) -> Result<(), StoreError>;

    /// The order of a domain that has not ended.
    async fn order(&self, name: &DomainName) -> Result<Option<OrderRecord>, StoreError>;

    /// The domains with an order that has not ended, such as one that a crash interrupted.
    async fn open_orders(&self) -> Result<Vec<DomainName>, StoreError>;
}

/// An open order (RFC 8555 §7.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRecord {
    pub name: DomainName,
    /// The directory URL of the CA.
    pub ca: String,
    /// The order's URL. `None`: newOrder was about to be sent; a crash there may cost one order.
    pub url: Option<String>,
    /// The PKCS#8 key of the future certificate, sealed for `orders/{name}`.
    pub sealed_key: Vec<u8>,
    pub step: OrderStep,
    /// When it was begun.
    pub created: Timestamp,
}

/// The step that an order has begun last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStep {
    /// newOrder is being sent.
    Creating,
    /// The order exists; its authorizations are in progress.
    Authorizing,
    /// The CSR is being sent.
    Finalizing,
}
