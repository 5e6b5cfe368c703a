//! The TLS configuration of the edge: a template for all certificates.
//!
//! TLS 1.2 (RFC 5246) and 1.3 (RFC 8446), HTTP/2 and HTTP/1.1 by ALPN (RFC 7301). Each certificate keeps a
//! copy of it ([`linkseal_domain::cert::certificate::Certificate::served_with`]).

use std::sync::Arc;

use linkseal_domain::cert::tickets::TicketKeys;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

/// HTTP/2 in ALPN (RFC 9113 §3.2).
pub(super) const ALPN_H2: &[u8] = b"h2";
/// HTTP/1.1 in ALPN (RFC 7301 §6).
pub(super) const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Tickets sent after a full TLS 1.3 handshake. rustls' default of two costs a second derivation, sealing
/// and record, though clients nearly always come back with one connection.
const TICKETS: usize = 1;

/// The edge's configuration without a certificate.
pub(super) fn template(tickets: TicketKeys) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(NoCertificate));
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    config.send_tls13_tickets = TICKETS;
    config.ticketer = Arc::new(tickets);
    // Sessions are in tickets: none is kept here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // No 0-RTT: a replayed request would write a false event.
    config.max_early_data_size = 0;
    // Its cache has four entries for all certificates, and a miss compresses at the highest level.
    config.cert_compressors = Vec::new();
    Ok(config)
}

/// aws-lc, with the post-quantum group of draft-ietf-tls-ecdhe-mlkem first. rustls' server follows
/// the client's order among these, so a client that sent only an X25519 share costs no second round.
fn provider() -> Arc<CryptoProvider> {
    let groups = vec![
        kx_group::X25519MLKEM768,
        kx_group::X25519,
        kx_group::SECP256R1,
        kx_group::SECP384R1,
    ];
    Arc::new(CryptoProvider {
        kx_groups: groups,
        ..default_provider()
    })
}

/// The template's placeholder for a certificate.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_replayable_or_costly_is_on() {
        let config = template(TicketKeys::new()).unwrap();
        assert_eq!(config.max_early_data_size, 0);
        assert!(!config.send_half_rtt_data);
        assert!(!config.session_storage.can_cache());
        assert!(config.cert_compressors.is_empty());
        assert_eq!(config.send_tls13_tickets, 1);
        assert_eq!(config.alpn_protocols, [ALPN_H2, ALPN_HTTP1]);
        assert!(!config.ticketer.enabled());
    }
}
