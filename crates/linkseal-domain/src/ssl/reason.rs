//! State and reason: what an owner sees of a domain's SSL (docs/specification.md §1).

use serde::{Deserialize, Serialize};

/// The three states an owner sees at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// There is an unexpired certificate, and it is served.
    Issued,
    /// There is no certificate yet; an order is running, queued, or scheduled.
    Pending,
    /// There is no certificate, and no order is on its way.
    Unknown,
}

impl State {
    /// In the order in which people read them.
    pub const ALL: [Self; 3] = [Self::Issued, Self::Pending, Self::Unknown];

    /// Its spelling in the API, in metrics and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Pending => "pending",
            Self::Unknown => "unknown",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $word:literal in $state:ident;)*) => {
        /// Why a domain is in its state.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
        pub enum Reason { $($(#[$doc])* #[serde(rename = $word)] $variant,)* }

        /// Replaces a stored reason that only a newer version knows: it claims the least. See
        /// `SslStatus::replace_unknown_reason`.
        impl Default for Reason {
            fn default() -> Self {
                Self::NeverRequested
            }
        }

        impl Reason {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its spelling in the API, in metrics and in the store.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The state this reason belongs to.
            pub fn state(self) -> State {
                match self { $(Self::$variant => State::$state,)* }
            }
        }
    };
}

reasons! {
    /// Served; nothing to do.
    Ok = "ok" in Issued;
    /// Served; a renewal is running.
    Renewing = "renewing" in Issued;
    /// Served; the last renewal failed.
    RenewalFailing = "renewal_failing" in Issued;
    /// Served; DNS no longer points here.
    Moved = "moved" in Issued;
    /// DNS is right; an order waits in the queue.
    Queued = "queued" in Pending;
    /// An order is running.
    Ordering = "ordering" in Pending;
    /// The CA is validating the name.
    Validating = "validating" in Pending;
    /// The last attempt failed for a temporary reason.
    RetryScheduled = "retry_scheduled" in Pending;
    /// The CA could not validate the name.
    ValidationFailed = "validation_failed" in Pending;
    /// A limit of the CA is reached.
    RateLimited = "rate_limited" in Pending;
    /// The CA does not answer.
    CaUnreachable = "ca_unreachable" in Pending;
    /// No certificate has been requested.
    NeverRequested = "never_requested" in Unknown;
    /// No record at the name.
    DnsMissing = "dns_missing" in Unknown;
    /// The name points elsewhere.
    DnsElsewhere = "dns_elsewhere" in Unknown;
    /// A proxy is in front of the name.
    Proxied = "proxied" in Unknown;
    /// An AAAA record points elsewhere.
    StrayAaaa = "stray_aaaa" in Unknown;
    /// A CAA record forbids the CA.
    CaaForbids = "caa_forbids" in Unknown;
    /// The zone's servers do not answer properly.
    DnsError = "dns_error" in Unknown;
    /// Admission does not allow the name.
    Denied = "denied" in Unknown;
    /// An operator paused the domain.
    Paused = "paused" in Unknown;
    /// Too many attempts failed.
    GivenUp = "given_up" in Unknown;
    /// The certificate expired and no order is on its way.
    Expired = "expired" in Unknown;
}

impl Reason {
    /// Whether DNS is the cause.
    pub fn is_dns(self) -> bool {
        matches!(
            self,
            Self::DnsMissing | Self::DnsElsewhere | Self::Proxied | Self::StrayAaaa | Self::CaaForbids | Self::DnsError
        )
    }

    /// Whether a handshake or a verification may start an order that was not scheduled.
    pub fn may_be_requested(self) -> bool {
        self.is_dns() || matches!(self, Self::NeverRequested | Self::Expired)
    }

    /// Whether an order is in progress.
    pub fn is_in_progress(self) -> bool {
        matches!(self, Self::Ordering | Self::Validating | Self::Renewing)
    }
}
