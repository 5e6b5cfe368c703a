//! The errors of a store, as sentences that say what to do.

/// Why a call to the store failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The name is taken.
    #[error("the domain exists already")]
    Exists,
    /// There is no such record.
    #[error("no such record")]
    NotFound,
    /// The record has changed since it was read: read it again.
    #[error("the record was changed in the meantime")]
    Conflict,
    /// Another node has the lease: stop working on the domain.
    #[error("the lease on this domain was lost")]
    Fenced,
    /// The record cannot be read by this version.
    #[error(
        "the record of {name} cannot be read ({why}); run the version that wrote it, or purge the domain: DELETE /v1/domains/{name}?purge=true"
    )]
    Unreadable { name: String, why: String },
    /// Another process is the node of this name.
    #[error(
        "another process is the node `{name}` ({seen} s ago it was alive); give each node a name of its own (edge.node), or stop that process first"
    )]
    NodeTaken {
        name: String,
        /// Seconds since it was last seen.
        seen: u64,
    },
    /// The connection was lost while the change was being committed, and whether it was could not be found out.
    #[error("the store was lost while it took the change, which may be stored or not; read it again")]
    OutcomeUnknown,
    /// A bounded list is full.
    #[error("there are {0} already, which is the most allowed; delete one first")]
    TooMany(usize),
    /// Another process has the store open.
    #[error("the store {path} is in use by another process; stop it first, or give this one a store of its own")]
    Locked { path: String },
    /// The store was written by a newer version.
    #[error(
        "the store has schema {found}, this linkseal knows up to {known}; run the newer version, or restore a backup from before the upgrade"
    )]
    Newer {
        /// The store's schema version.
        found: i64,
        /// The newest schema version that this program knows.
        known: i64,
    },
    /// The disk is full.
    #[error("the disk of the store is full; nothing is lost, free some space")]
    Full,
    #[error("the disk of the store is read-only; check the system's log, repair it and mount it writable again")]
    ReadOnly,
    /// A backup or restore failed; the store itself is unchanged.
    #[error("{0}")]
    NotCopied(String),
    /// Any other failure.
    #[error("the store failed: {0}")]
    Unavailable(String),
}

impl StoreError {
    /// The kind as a word, by which repeated log lines are suppressed.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Fenced => "fenced",
            Self::Unreadable { .. } => "unreadable",
            Self::NodeTaken { .. } => "node_taken",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::TooMany(_) => "too_many",
            Self::Locked { .. } => "locked",
            Self::Newer { .. } => "newer",
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::NotCopied(_) => "not_copied",
            Self::Unavailable(_) => "unavailable",
        }
    }
}
