//! The SSL state of a domain ([`SslStatus`]) and the events that change it ([`SslEvent`]).
//!
//! [`SslStatus::apply`] changes it. What the control plane does, and when, follows from the
//! status alone, so a restart changes nothing.

mod certificate;
mod event;
mod failure;
mod reason;
mod status;

pub use certificate::{CertificateInfo, EXPIRING_SHARE};
pub use event::{Intent, SslEvent};
pub use failure::{Failure, FailureKind, LastError, SubProblem};
pub use reason::{Reason, State};
pub use status::{CaRefusals, Facts, ORDER_ENDS_WITHIN, Preflight, Slot, SslStatus};
pub(crate) use status::{FAILURES_KEPT, REFUSAL_KEPT};
