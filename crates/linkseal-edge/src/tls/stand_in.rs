//! The self-signed certificate under which a name's challenges are served on port 443 while it has
//! none of its own: a content delivery network that calls there takes any certificate, and without
//! this its customer's validation would wait for the certificate that it validates.

use std::sync::{Arc, OnceLock};

use linkseal_domain::cert::certificate::Certificate;
use linkseal_domain::cert::tickets::TicketKeys;
use rustls::ServerConfig;
use rustls::sign::SingleCertAndKey;

use super::server_config::ALPN_HTTP1;

/// The name in it: no one's (RFC 2606 §2).
const NAME: &str = "stand-in.invalid";

/// One for all names of this node, made at its first use, never stored.
#[derive(Default)]
pub(super) struct StandIn {
    /// `None` in it: it cannot be made.
    config: OnceLock<Option<Arc<ServerConfig>>>,
}

impl StandIn {
    /// What it is served with; from the edge's `template`, without what outlives the connection.
    pub(super) fn config(&self, template: &ServerConfig) -> Option<Arc<ServerConfig>> {
        self.config
            .get_or_init(|| {
                make(template)
                    .inspect_err(|error| tracing::error!(%error, "the stand-in for challenges on 443 cannot be made"))
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
    // A session of it must not be resumed: the next handshake is to show the real certificate.
    config.send_tls13_tickets = 0;
    config.ticketer = Arc::new(TicketKeys::new());
    // A connection of one request, which HTTP/2 has no need for.
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    Ok(Arc::new(config))
}
