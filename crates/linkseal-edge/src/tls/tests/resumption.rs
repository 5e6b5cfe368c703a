//! Session tickets with real clients over real sockets.

use std::sync::Arc;

use linkseal_base::clock::Timestamp;
use linkseal_domain::cert::tickets::{KEY_LEN, TicketKey, TicketKeys};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::aws_lc_rs::DEFAULT_KX_GROUPS;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, NamedGroup};
use zeroize::Zeroizing;

use crate::testing::{Options, TestEdge};

const A: &str = "links.a.example";
const B: &str = "links.b.example";

fn key(id: u64) -> TicketKey {
    let key = Zeroizing::new([u8::try_from(id).unwrap(); KEY_LEN]);
    TicketKey {
        id,
        key,
        created: Timestamp::from_secs(i64::try_from(id).unwrap()),
    }
}

#[tokio::test(flavor = "local")]
async fn sessions_resume_across_rotation_and_restart_while_their_key_is_kept() {
    for (version, label) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let tickets = TicketKeys::new();
        let edge = TestEdge::start(Options {
            tickets: tickets.clone(),
            ..Options::default()
        });
        edge.issued(A);
        let client = Arc::new(edge.client_with(&[version], DEFAULT_KX_GROUPS));
        let kind = async |edge: &TestEdge| edge.connect(A, &client).await.get_ref().1.handshake_kind();
        kind(&edge).await;
        assert_eq!(kind(&edge).await, Some(HandshakeKind::Full), "no keys yet");
        tickets.set(vec![key(1)]);
        assert_eq!(kind(&edge).await, Some(HandshakeKind::Full), "{label}");
        assert_eq!(kind(&edge).await, Some(HandshakeKind::Resumed), "{label}");
        tickets.set(vec![key(2), key(1)]);
        assert_eq!(kind(&edge).await, Some(HandshakeKind::Resumed), "rotated, {label}");
        assert_eq!(edge.metric("linkseal_tls_handshakes_total", "true"), 2.0);

        // Another process: its certificate is not one the client trusts, so that only a resumption succeeds.
        let tickets_there = TicketKeys::new();
        tickets_there.set(vec![key(3), key(2)]);
        let restarted = TestEdge::start(Options {
            tickets: tickets_there.clone(),
            ..Options::default()
        });
        restarted.issued(A);
        assert_eq!(
            kind(&restarted).await,
            Some(HandshakeKind::Resumed),
            "restarted, {label}"
        );

        tickets.set(vec![key(4)]);
        assert_eq!(kind(&edge).await, Some(HandshakeKind::Full), "its key is gone, {label}");
    }
}

/// A client that offers any ticket to any server.
#[derive(Debug)]
struct Promiscuous(ClientSessionMemoryCache);

impl Promiscuous {
    fn one() -> ServerName<'static> {
        ServerName::try_from(A).unwrap()
    }
}

impl ClientSessionStore for Promiscuous {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(Self::one(), group);
    }
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&Self::one())
    }
    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(Self::one(), value);
    }
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&Self::one())
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&Self::one());
    }
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(Self::one(), value);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&Self::one())
    }
}

#[tokio::test(flavor = "local")]
async fn a_ticket_of_one_name_does_not_resume_under_another() {
    for version in [&TLS12, &TLS13] {
        let tickets = TicketKeys::new();
        tickets.set(vec![key(1)]);
        let edge = TestEdge::start(Options {
            tickets,
            ..Options::default()
        });
        edge.issued(A);
        edge.issued(B);
        let mut client = edge.client_with(&[version], DEFAULT_KX_GROUPS);
        client.resumption = Resumption::store(Arc::new(Promiscuous(ClientSessionMemoryCache::new(8))));
        let client = Arc::new(client);
        let kind = async |to: &str| edge.connect(to, &client).await.get_ref().1.handshake_kind();
        assert_eq!(kind(A).await, Some(HandshakeKind::Full));
        assert_eq!(kind(A).await, Some(HandshakeKind::Resumed));
        assert_eq!(kind(B).await, Some(HandshakeKind::Full), "with A's ticket");
        assert_eq!(kind(B).await, Some(HandshakeKind::Resumed));
        assert_eq!(kind(A).await, Some(HandshakeKind::Full), "with B's ticket");
    }
}
