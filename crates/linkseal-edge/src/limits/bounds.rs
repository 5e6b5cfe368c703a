//! The bounds that follow from `edge.max_connections`: shares of one address and one network, and the
//! reserve for port 80.

/// One address may hold 1/N of all connections. Generous, as mail providers fetch for millions of readers
/// from few addresses, but no single address fills the edge.
const ADDRESS_SHARE: usize = 4;
/// One network may hold 1/N of them.
const NETWORK_SHARE: usize = 2;
/// 1/N of all connections is reserved for port 80, unless there are fewer than [`FEW`].
const RESERVE_SHARE: usize = 20;
const FEW: usize = 8;
/// One address and one network may hold 1/N of the reserve.
const BRIEF_ADDRESS_SHARE: usize = 16;
const BRIEF_NETWORK_SHARE: usize = 8;

/// How many connections may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub max: usize,
    /// An IPv6 /64 counts as one address.
    pub per_address: usize,
    /// A network is a /24 of IPv4 or a /48 of IPv6.
    pub per_network: usize,
}

impl Bounds {
    /// With the usual shares.
    pub fn of(max: usize) -> Self {
        Self {
            max,
            per_address: max.div_ceil(ADDRESS_SHARE),
            per_network: max.div_ceil(NETWORK_SHARE),
        }
    }

    pub(super) fn reserve(self) -> usize {
        if self.max < FEW {
            0
        } else {
            self.max.div_ceil(RESERVE_SHARE)
        }
    }

    /// The bounds of the reserve, in finer shares: a few networks together must not take all of it.
    pub(super) fn brief(self) -> Self {
        let max = self.reserve();
        Self {
            max,
            per_address: max.div_ceil(BRIEF_ADDRESS_SHARE).max(2),
            per_network: max.div_ceil(BRIEF_NETWORK_SHARE).max(2),
        }
    }

    /// The bounds without the reserve.
    pub(super) fn ordinary(self) -> Self {
        Self {
            max: self.max - self.reserve(),
            ..self
        }
    }
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitReached {
    #[error("max_connections is reached")]
    All,
    #[error("too many connections from one address")]
    Address,
    #[error("too many connections from one network")]
    Network,
}
