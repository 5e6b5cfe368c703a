//! How many handshakes may wait for a certificate that is not in memory.

use std::net::IpAddr;

use dashmap::DashMap;
use linkseal_domain::DomainName;

use crate::fair::{FairPlace, FairRoom};

/// Handshakes that may wait for one name: a mailing's first readers.
const MAX_PER_NAME: usize = 256;
/// How many of them may come from one network.
pub(super) const OF_NETWORK_PER_NAME: usize = MAX_PER_NAME / 2;
/// Handshakes that may wait in all: each holds a connection and its ClientHello, about 10 KiB.
const MAX: usize = 4096;
const OF_NETWORK: usize = MAX / 4;

/// The handshakes that wait. Holds only names with a waiting handshake, so their number is bounded too.
#[derive(Debug)]
pub(super) struct Waiting {
    all: FairRoom,
    names: DashMap<DomainName, FairRoom>,
}

/// The right to wait; given back when dropped.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    waiting: &'a Waiting,
    name: DomainName,
    of_name: Option<FairPlace>,
    of_all: Option<FairPlace>,
}

impl Waiting {
    /// One more for a name. `None` if too many wait already, in all or of the client's network.
    pub(super) fn enter(&self, name: &DomainName, client: IpAddr) -> Option<Wait<'_>> {
        let of_name = {
            let room = self.names.entry(name.clone());
            let room = room.or_insert_with(|| FairRoom::new(MAX_PER_NAME, OF_NETWORK_PER_NAME));
            room.try_enter(client)?
        };
        // From here on, dropping `wait` removes an empty room.
        let mut wait = Wait {
            waiting: self,
            name: name.clone(),
            of_name: Some(of_name),
            of_all: None,
        };
        wait.of_all = Some(self.all.try_enter(client)?);
        Some(wait)
    }

    /// How many names handshakes wait for.
    #[cfg(test)]
    pub(super) fn names(&self) -> usize {
        self.names.len()
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            all: FairRoom::new(MAX, OF_NETWORK),
            names: DashMap::new(),
        }
    }
}

impl Wait<'_> {
    /// Resolves when the place goes to a network with fewer.
    pub(super) async fn taken_away(&self) {
        let (Some(of_name), Some(of_all)) = (&self.of_name, &self.of_all) else {
            return;
        };
        tokio::select! {
            () = of_name.taken_away() => {}
            () = of_all.taken_away() => {}
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.of_all = None;
        self.of_name = None;
        self.waiting.names.remove_if(&self.name, |_, room| room.taken() == 0);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn name(i: usize) -> DomainName {
        DomainName::parse(&format!("n{i}.example")).unwrap()
    }

    fn from(network: usize) -> IpAddr {
        let [.., high, low] = network.to_be_bytes();
        [198, high, low, 1].into()
    }

    #[test]
    fn waiting_is_bounded_per_name_and_in_all() {
        let waiting = Waiting::default();
        let mut waits: Vec<_> = (0..MAX_PER_NAME)
            .map(|i| waiting.enter(&name(0), from(i)).unwrap())
            .collect();
        assert!(waiting.enter(&name(0), from(MAX_PER_NAME)).is_none());
        for i in MAX_PER_NAME..MAX {
            waits.push(waiting.enter(&name(i), from(i)).unwrap());
        }
        assert!(waiting.enter(&name(MAX), from(MAX)).is_none());
        waits.pop();
        assert!(waiting.enter(&name(MAX), from(MAX)).is_some());
        waits.clear();
        assert_eq!(waiting.names(), 0);
        assert_eq!(waiting.all.taken(), 0);
    }

    #[test]
    fn a_network_has_a_share_and_crowds_make_way_for_another() {
        let waiting = Waiting::default();
        let mut held = Vec::new();
        // Two networks fill the places of a name, more of them fill all.
        for i in 0..2 * MAX / MAX_PER_NAME {
            let mut of_name: Vec<_> = std::iter::from_fn(|| waiting.enter(&name(i / 2), from(i % 8))).collect();
            assert_eq!(of_name.len(), OF_NETWORK_PER_NAME);
            held.append(&mut of_name);
        }
        assert_eq!(held.len(), MAX);
        // For a full name, one place of that name and one of all is taken; for another name, only one of all.
        let is_gone = |wait: &&Wait<'_>| wait.taken_away().now_or_never().is_some();
        let bystanders = [(name(0), 2), (name(99), 1)].map(|(other, gone)| {
            let bystander = waiting.enter(&other, from(999)).unwrap();
            assert!(!is_gone(&&bystander));
            assert_eq!(held.iter().filter(is_gone).count(), gone);
            bystander
        });
        drop((held, bystanders));
        assert_eq!(waiting.names(), 0);
        assert_eq!(waiting.all.taken(), 0);
    }
}
