//! What a failed statement means: whether it may be tried again, and how a person reads it.

use std::error::Error as _;

use tokio_postgres::error::SqlState;

use crate::StoreError;

/// Why a call ended without a result.
#[derive(Debug)]
pub(super) enum Failure {
    /// One of the store's own rules refuses it.
    Refused(StoreError),
    /// The database refused it and would refuse it again.
    Rejected(String),
    /// The transaction was rolled back, or never began: it can be tried again. `reconnect`: on another
    /// connection, since the server behind this one is about to end, or accepts no writes any more.
    RolledBack { why: String, reconnect: bool },
    /// Nothing came back. Before the commit was sent, nothing was stored.
    Lost(String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let why = sentence(&error);
        let Some(code) = error.code() else {
            // No row where one must be, a column of another type: our statement is wrong, not the connection.
            return if error.is_closed() || error.source().is_some_and(|cause| cause.is::<std::io::Error>()) {
                Self::Lost(why)
            } else {
                Self::Rejected(why)
            };
        };
        let again = |reconnect| Self::RolledBack {
            why: why.clone(),
            reconnect,
        };
        match *code {
            SqlState::T_R_SERIALIZATION_FAILURE
            | SqlState::T_R_DEADLOCK_DETECTED
            | SqlState::LOCK_NOT_AVAILABLE
            | SqlState::QUERY_CANCELED
            // A statement beside it failed, and its error comes to the caller a little later.
            | SqlState::IN_FAILED_SQL_TRANSACTION => again(false),
            SqlState::READ_ONLY_SQL_TRANSACTION
            | SqlState::ADMIN_SHUTDOWN
            | SqlState::CRASH_SHUTDOWN
            | SqlState::CANNOT_CONNECT_NOW
            | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
            | SqlState::IDLE_SESSION_TIMEOUT => again(true),
            // Other engines say so of a commit.
            SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN => Self::Lost(why),
            // Connection exceptions, and what a pooler answers for a server that it lost.
            _ if code.code().starts_with("08") => Self::Lost(why),
            // Insufficient resources: disk, memory, connections.
            _ if code.code().starts_with("53") => again(false),
            _ => Self::Rejected(why),
        }
    }
}

impl Failure {
    /// The error for the caller once it is not tried again.
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Rejected(why) | Self::RolledBack { why, .. } | Self::Lost(why) => {
                StoreError::Unavailable(format!("PostgreSQL: {why}"))
            }
        }
    }
}

/// An error with its cause, and what the server said beside it.
pub(super) fn sentence(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        let hint = db
            .detail()
            .or(db.hint())
            .map(|more| format!(" ({more})"))
            .unwrap_or_default();
        return format!("{}{hint} [{}]", db.message(), db.code().code());
    }
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
