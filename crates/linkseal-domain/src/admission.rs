//! Which names may have a certificate, and who is asked.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;

use super::DomainName;
use super::registry::Entry;

/// The answer to "may this name be served here?".
#[derive(Clone, Debug)]
pub enum Admitted {
    /// It may.
    Yes(Arc<Entry>),
    /// It may not.
    No,
    /// The endpoint that must be asked does not answer.
    Unreachable,
}

/// Whose question it is: the network of the client that sent the name. What a question may cost is
/// counted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientNetwork(IpAddr);

impl ClientNetwork {
    /// For clients of one network, which is named by an address of it.
    pub fn of(network: IpAddr) -> Self {
        Self(network)
    }

    /// An address of the network.
    pub fn network(self) -> IpAddr {
        self.0
    }
}

/// Who answers when the registry does not know a name.
#[async_trait]
pub trait Admission: Send + Sync + 'static {
    /// Asks for a name. Bounded in time and number; never leaves state for a name that is refused.
    async fn admit(&self, name: &DomainName, asking: ClientNetwork) -> Admitted;
}
