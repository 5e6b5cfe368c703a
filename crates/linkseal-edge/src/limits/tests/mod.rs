//! Permits, waiting for them, and which connection makes way.

mod counting;
mod displacing;
mod waiting;

use futures_util::FutureExt as _;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn open(limits: &Limits, listener: Listener, from: &str) -> Result<Permit, LimitReached> {
    let mut permit = limits.permit(listener)?;
    permit.count_for(ip(from)).map(|()| permit)
}

fn https(limits: &Limits, from: &str) -> Result<Permit, LimitReached> {
    open(limits, Listener::Https, from)
}

/// `n` connections of each address, all idle for `idle`.
fn crowd(limits: &Limits, addresses: &[&str], n: usize, idle: Duration) -> Vec<Permit> {
    let ago = Instant::now() - idle;
    let permits = addresses.iter().flat_map(|a| (0..n).map(|_| https(limits, a).unwrap()));
    permits
        .inspect(|permit| {
            let presence = permit.presence().unwrap();
            presence.is_since(ago);
        })
        .collect()
}

fn gone(permits: &[Permit]) -> usize {
    permits.iter().filter(|p| p.presence().unwrap().is_evicted()).count()
}

fn soon(limits: &Limits, from: &str) -> Option<Permit> {
    let mut permit = Box::pin(limits.permit_soon(Listener::Https, ip(from))).now_or_never()??;
    permit.count_for(ip(from)).ok()?;
    Some(permit)
}
