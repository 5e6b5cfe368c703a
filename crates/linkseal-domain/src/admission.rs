//! Which names may have a certificate, and who decides.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;

use super::DomainName;
use super::registry::Entry;

/// The answer to "may this name be served here?".
#[derive(Clone, Debug)]
pub enum Admitted {
    Yes(Arc<Entry>),
    No,
    /// The platform's `ask` endpoint does not answer.
    Unreachable,
}

/// The network of the client that sent a name; the cost of admission is limited per network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientNetwork(IpAddr);

impl ClientNetwork {
    /// `network`: any address that identifies the network, the same for all its clients.
    pub fn of(network: IpAddr) -> Self {
        Self(network)
    }

    /// An address of the network.
    pub fn network(self) -> IpAddr {
        self.0
    }
}

/// Decides whether a name that the registry does not know may be served.
#[async_trait]
pub trait Admission: Send + Sync + 'static {
    /// Bounded in time and number; never leaves state for a refused name.
    async fn admit(&self, name: &DomainName, asking: ClientNetwork) -> Admitted;
}
