//! Why a connection gets no TLS session: the alert, the label in metrics, and whose fault it is.

use std::io;

use linkseal_base::fault::Fault;
use tokio::net::TcpStream;

use super::alert;
use super::hello::HelloError;

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The client went away.
    #[error("the client went away during the handshake")]
    Gone,
    /// No complete ClientHello in time.
    #[error("the ClientHello did not come in time")]
    HelloTimeout,
    /// No ClientHello, or none that can be used.
    #[error("the client sent no usable ClientHello")]
    HelloInvalid,
    /// The name is none, or not admitted: `unrecognized_name`.
    #[error("the name is not served here")]
    UnrecognizedName,
    /// The endpoint that must be asked about the name does not answer: `internal_error`.
    #[error("admission does not answer, and no certificate is held")]
    AdmissionUnreachable,
    /// There is no certificate, and none on its way: `internal_error`.
    #[error("there is no certificate for the name; its SSL state says why")]
    NoCertificate,
    /// The certificate did not come within `handshake_wait`: `internal_error`.
    #[error("the certificate did not come within handshake_wait")]
    CertificateTimeout,
    /// Too many handshakes wait already, or the store cannot be read: `internal_error`.
    #[error("too many handshakes wait already, or the store cannot be read")]
    Busy,
    /// The client did not finish the handshake in time.
    #[error("the client did not finish the handshake in time")]
    HandshakeTimeout,
    /// The handshake failed: no common ground, or an alert of the client's.
    #[error("the handshake failed")]
    HandshakeFailed,
    /// The client closed without a byte, as balancers' health checks do: there was no handshake.
    #[error("the client closed without a word")]
    Silent,
}

impl Refusal {
    /// How many are counted: all but [`Refusal::Silent`].
    pub(super) const COUNT: usize = 10;
    /// The labels metrics carry, in the order of the variants.
    pub(super) const LABELS: [&str; Self::COUNT] = [
        "client_gone",
        "hello_timeout",
        "hello_invalid",
        "unrecognized_name",
        "admission_unreachable",
        "no_certificate",
        "certificate_timeout",
        "busy",
        "handshake_timeout",
        "handshake_failed",
    ];

    /// Who has to act.
    pub fn fault(self) -> Fault {
        match self {
            Self::NoCertificate | Self::CertificateTimeout => Fault::CustomerDns,
            Self::AdmissionUnreachable => Fault::Upstream,
            Self::Busy => Fault::Ours,
            _ => Fault::Client,
        }
    }

    /// What the client is told by us. `None`: rustls has told it, or it is gone.
    fn alert(self) -> Option<&'static [u8; 7]> {
        match self {
            Self::UnrecognizedName => Some(&alert::UNRECOGNIZED_NAME),
            Self::AdmissionUnreachable | Self::NoCertificate | Self::CertificateTimeout | Self::Busy => {
                Some(&alert::INTERNAL_ERROR)
            }
            _ => None,
        }
    }
}

impl From<HelloError> for Refusal {
    fn from(error: HelloError) -> Self {
        match error {
            HelloError::Silent => Self::Silent,
            HelloError::Gone => Self::Gone,
            HelloError::Invalid(_) => Self::HelloInvalid,
        }
    }
}

impl From<io::Error> for Refusal {
    /// Of a handshake that rustls had begun.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::InvalidData {
            Self::HandshakeFailed
        } else {
            Self::Gone
        }
    }
}

/// Tells the client, where it is ours to tell, and closes.
pub(super) async fn refuse(io: TcpStream, why: Refusal) -> Refusal {
    if let Some(alert) = why.alert() {
        alert::send_and_close(io, alert).await;
    }
    why
}
