//! TLS of the admin port: under edge.name's certificate, and as long as there is none under one of
//! our own, so that the port that says why there is none can be reached.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use linkseal_domain::DomainName;
use linkseal_domain::cert::certificate::Certificate;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use super::Context;

/// What the port accepts TLS with.
pub(super) fn acceptor(context: &Arc<Context>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let resolver = EdgeCertificate {
        context: Arc::clone(context),
        own: OnceLock::new(),
    };
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls).into())
}

/// Whether edge.name's certificate is in memory.
pub(super) fn has_certificate(context: &Context, name: &DomainName) -> bool {
    context
        .certificates
        .cached(name, context.control.clock().now())
        .is_some()
}

/// edge.name's certificate, whatever name the client asks for: admin ports are reached by address
/// too.
struct EdgeCertificate {
    context: Arc<Context>,
    /// Made at its first use, never stored. `None` in it: it cannot be made.
    own: OnceLock<Option<Arc<CertifiedKey>>>,
}

impl ResolvesServerCert for EdgeCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let context = &self.context;
        let name = &context.live.load().edge_name;
        match context.certificates.cached(name, context.control.clock().now()) {
            Some(certificate) => Some(Arc::clone(&certificate.key)),
            None => self.own.get_or_init(|| make(name)).clone(),
        }
    }
}

fn make(name: &DomainName) -> Option<Arc<CertifiedKey>> {
    let made = rcgen::generate_simple_self_signed([name.as_str().to_owned()]);
    let made = made.inspect_err(|error| tracing::error!(%error, "no certificate for the admin port can be made"));
    let made = made.ok()?;
    let certificate = Certificate::new(&made.cert.pem(), &made.key_pair.serialize_der());
    let certificate = certificate.inspect_err(|error| tracing::error!(%error, "no certificate for the admin port"));
    let fingerprint = digest(&SHA256, made.cert.der());
    let sha256: String = fingerprint.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    tracing::warn!(
        %name,
        sha256,
        "the admin port has no certificate of edge.name yet and shows a self-signed one until it has: compare its \
         fingerprint before you send a token, and see GET /v1/domains/{name} for what is missing"
    );
    Some(certificate.ok()?.key)
}

impl std::fmt::Debug for EdgeCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EdgeCertificate")
    }
}
