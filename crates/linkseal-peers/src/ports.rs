//! Ports for programs that cannot bind port 0 and report what they got. They lie below the range
//! from which the kernel serves port 0, so that no other socket of the tests takes one between the
//! moment it is chosen and the moment the program binds it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};

const PORTS: Range<u16> = 20_000..32_000;

/// A port of 127.0.0.1 that is free for TCP and UDP. No port is returned twice.
pub fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = u32::from(PORTS.end - PORTS.start);
    for _ in PORTS {
        // Test processes that run at the same time start at different offsets.
        let offset = (std::process::id() * 97 + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % span;
        let port = PORTS.start + u16::try_from(offset).expect("below the span");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port of {PORTS:?} is free");
}
