//! The self-signed certificate under which a name's challenges are served on port 443 while the name has
//! no certificate. A content delivery network that forwards challenges there accepts any certificate;
//! without this one, the validation would wait for the certificate that depends on it.

use std::sync::{Arc, OnceLock};

use linkseal_domain::cert::certificate::Certificate;
use linkseal_domain::cert::tickets::TicketKeys;
use rustls::ServerConfig;
use rustls::sign::SingleCertAndKey;

use super::server_config::ALPN_HTTP1;

/// The name in it, a reserved one (RFC 2606 §2).
const NAME: &str = "stand-in.invalid";

/// One for all names of this node, made at first use, never stored.
#[derive(Default)]
pub(super) struct StandIn {
    /// Holds `None` if it could not be made.
    config: OnceLock<Option<Arc<ServerConfig>>>,
}

impl StandIn {
    /// The configuration to serve it with, made from the edge's `template`; sessions are not resumed.
    pub(super) fn config(&self, template: &ServerConfig) -> Option<Arc<ServerConfig>> {
        self.config
            .get_or_init(|| {
                make(template)
                    .inspect_err(|error| tracing::error!(%error, "self-signed certificate for challenges on port 443 could not be made; such challenges fail"))
                    .ok()
            })
            .clone()
    }
}

fn make(template: &ServerConfig) -> anyhow::Result<Arc<ServerConfig>> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let certificate = Certificate::new(&made.cert.pem(), &made.key_pair.serialize_der())?;
    let mut config = template.clone();
    config.cert_resolver = Arc::new(SingleCertAndKey::from(certificate.key));
    // Its sessions are not resumed: the next handshake must present the real certificate.
    config.send_tls13_tickets = 0;
    config.ticketer = Arc::new(TicketKeys::new());
    // HTTP/1.1 only: a connection carries one request.
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    Ok(Arc::new(config))
}
