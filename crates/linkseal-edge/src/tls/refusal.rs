//! Why a connection gets no TLS session: the alert, the label in metrics, and whose fault it is.

use std::io;

use linkseal_base::fault::Fault;
use tokio::net::TcpStream;

use super::alert;
use super::hello::HelloError;

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the client closed during the handshake")]
    Gone,
    #[error("no complete ClientHello came in time")]
    HelloTimeout,
    #[error("the client sent no usable ClientHello")]
    HelloInvalid,
    /// The name is not a domain name, or not admitted: `unrecognized_name`.
    #[error("the name is not served here")]
    UnrecognizedName,
    /// The platform's admission endpoint gave no answer: `internal_error`.
    #[error("admission gave no answer, and no certificate is stored")]
    AdmissionUnreachable,
    /// There is no certificate, and none is being issued: `internal_error`.
    #[error("there is no certificate for the name; its SSL state says why")]
    NoCertificate,
    /// `internal_error`.
    #[error("no certificate was issued within handshake_wait")]
    CertificateTimeout,
    /// `internal_error`.
    #[error("too many handshakes wait already, or the store cannot be read")]
    Busy,
    #[error("the client did not finish the handshake in time")]
    HandshakeTimeout,
    /// No common parameters, or the client sent an alert.
    #[error("the handshake failed")]
    HandshakeFailed,
    /// As balancers' health checks do: there was no handshake.
    #[error("the client closed without sending anything")]
    Silent,
}

impl Refusal {
    /// How many variants are counted: all except [`Refusal::Silent`].
    pub(super) const COUNT: usize = 10;
    /// The labels in metrics, in the order of the variants.
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

    pub(crate) fn fault(self) -> Fault {
        match self {
            Self::NoCertificate | Self::CertificateTimeout => Fault::CustomerDns,
            Self::AdmissionUnreachable => Fault::Upstream,
            Self::Busy => Fault::Ours,
            _ => Fault::Client,
        }
    }

    /// The alert that the edge sends. `None`: rustls has sent one, or the client is gone.
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
    /// The error of a handshake that rustls had begun.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::InvalidData {
            Self::HandshakeFailed
        } else {
            Self::Gone
        }
    }
}

/// Sends the alert, if there is one, and closes.
pub(super) async fn refuse(io: TcpStream, why: Refusal) -> Refusal {
    if let Some(alert) = why.alert() {
        alert::send_and_close(io, alert).await;
    }
    why
}
