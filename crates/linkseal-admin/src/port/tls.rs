//! TLS of the admin port: edge.name's certificate, or a self-signed one until there is that, so that
//! the port that says why it is missing can be reached.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use linkseal_domain::DomainName;
use linkseal_domain::cert::certificate::Certificate;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::context::Context;

pub(crate) fn acceptor(context: &Arc<Context>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let resolver = EdgeCertificate {
        context: Arc::clone(context),
        self_signed: OnceLock::new(),
    };
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls).into())
}

/// Whether edge.name's certificate is in memory.
pub(crate) fn has_certificate(context: &Context, name: &DomainName) -> bool {
    context.certificates.cached(name, context.now()).is_some()
}

/// Presents edge.name's certificate whatever name the client asks for: admin ports are reached by
/// address, too.
struct EdgeCertificate {
    context: Arc<Context>,
    /// The self-signed certificate; made at its first use, never stored.
    self_signed: OnceLock<Option<Arc<CertifiedKey>>>,
}

impl ResolvesServerCert for EdgeCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let context = &self.context;
        let name = &context.live.load().names.name;
        match context.certificates.cached(name, context.now()) {
            Some(certificate) => Some(Arc::clone(&certificate.key)),
            None => self.self_signed.get_or_init(|| self_signed(name)).clone(),
        }
    }
}

fn self_signed(name: &DomainName) -> Option<Arc<CertifiedKey>> {
    let made = rcgen::generate_simple_self_signed([name.as_str().to_owned()]);
    let made = made
        .inspect_err(|error| tracing::error!(%error, "creating a self-signed certificate for the admin port failed"));
    let made = made.ok()?;
    let certificate = Certificate::new(&made.cert.pem(), &made.key_pair.serialize_der());
    let certificate = certificate
        .inspect_err(|error| tracing::error!(%error, "the self-signed certificate for the admin port is unusable"));
    let fingerprint = digest(&SHA256, made.cert.der());
    let sha256: String = fingerprint.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    tracing::warn!(
        %name,
        sha256,
        "edge.name has no certificate yet; the admin port presents a self-signed one (compare its fingerprint before \
         sending a token; GET /v1/domains/{name} says what is missing)"
    );
    Some(certificate.ok()?.key)
}

impl std::fmt::Debug for EdgeCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EdgeCertificate")
    }
}
