//! IP addresses, ports and networks.

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::str::FromStr;

use ipnet::IpNet;

use super::{InvalidValue, copied_value};

/// An IP address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenAddr(SocketAddr);

impl From<SocketAddr> for ListenAddr {
    fn from(address: SocketAddr) -> Self {
        Self(address)
    }
}

impl Deref for ListenAddr {
    type Target = SocketAddr;
    fn deref(&self) -> &SocketAddr {
        &self.0
    }
}

impl FromStr for ListenAddr {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        text.parse().map(Self).map_err(|_| InvalidValue)
    }
}

copied_value!(
    ListenAddr(SocketAddr),
    "an IP address with a port, such as \"[::]:443\" or \"192.0.2.53:53\"",
    "[::]:443"
);

/// An IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(IpAddr);

impl FromStr for Address {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        text.parse().map(Self).map_err(|_| InvalidValue)
    }
}

copied_value!(
    Address(IpAddr),
    "an IP address such as \"203.0.113.10\" or \"2001:db8::10\"",
    "203.0.113.10"
);

/// An IP address, and the port to use instead of 80.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpProbeAddr(SocketAddr);

impl FromStr for HttpProbeAddr {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let bare = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 80));
        let address = text.parse::<SocketAddr>().or_else(|_| bare());
        address.ok().filter(|a| a.port() != 0).map(Self).ok_or(InvalidValue)
    }
}

copied_value!(
    HttpProbeAddr(SocketAddr),
    "an IP address, with a port unless that is 80, such as \"10.0.0.5\" or \"[fd00::5]:8080\"",
    "10.0.0.5"
);

/// A network in CIDR notation (RFC 4632 §3.1); a single address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl FromStr for Network {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let one = || text.parse::<IpAddr>().map(IpNet::from);
        let network: IpNet = text.parse().or_else(|_| one()).map_err(|_| InvalidValue)?;
        // `10.0.0.5/8` may mean the host or the network: the author has to say which.
        (network == network.trunc())
            .then_some(Self(network))
            .ok_or(InvalidValue)
    }
}

copied_value!(
    Network(IpNet),
    "a network in CIDR notation such as \"10.0.0.0/8\" or \"2001:db8::/32\", with no bits set behind the prefix",
    "10.0.0.0/8"
);
