//! The addresses that the CA sees.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use parking_lot::RwLock;

/// The CA's view of DNS: every name is at 127.0.0.1 unless [`Hosts::set`] says otherwise.
#[derive(Default)]
pub struct Hosts {
    names: RwLock<HashMap<String, Option<IpAddr>>>,
}

impl Hosts {
    /// The address of one name; `None`: it does not exist in DNS.
    pub fn set(&self, name: &str, address: Option<IpAddr>) {
        self.names.write().insert(name.to_owned(), address);
    }

    pub(super) fn look_up(&self, name: &str) -> Option<IpAddr> {
        let set = self.names.read().get(name).copied();
        set.unwrap_or(Some(IpAddr::V4(Ipv4Addr::LOCALHOST)))
    }
}
