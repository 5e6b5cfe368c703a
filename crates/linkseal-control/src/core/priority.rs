//! How urgent the work on a domain is.

/// Why a domain is worked on; the higher one goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Registered or imported: no client waits.
    Bulk,
    /// A person pressed "verify".
    Verify,
    /// A handshake waits.
    Handshake,
    /// A certificate is about to expire.
    Expiring,
}

impl Priority {
    /// All of them, the highest first.
    pub const ALL: [Self; 4] = [Self::Expiring, Self::Handshake, Self::Verify, Self::Bulk];

    /// The value of the metrics label `priority`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Expiring => "expiring",
            Self::Handshake => "handshake",
            Self::Verify => "verify",
            Self::Bulk => "bulk",
        }
    }
}
