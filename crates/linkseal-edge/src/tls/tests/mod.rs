//! Handshakes with real clients over real sockets.

mod admission;
mod handshakes;
mod resumption;
mod waiting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use linkseal_domain::admission::Admitted;
use linkseal_domain::cert::cache::CertificateAnswer;
use linkseal_domain::record::DomainRecord;
use linkseal_domain::ssl::Reason;
use rustls::crypto::aws_lc_rs::{DEFAULT_KX_GROUPS, kx_group};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, NamedGroup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::alert::{INTERNAL_ERROR, UNRECOGNIZED_NAME};
use crate::testing::{EDGE, Options, PATIENT, TestEdge, certificate_info, client_hello, name, raw, until};

const HANDSHAKES: &str = "linkseal_tls_handshakes_total";
const A: &str = "links.a.example";
const B: &str = "links.b.example";
/// For waits that should time out.
const SHORT: Duration = Duration::from_millis(100);
