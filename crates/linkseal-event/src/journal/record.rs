//! An event as it is read from the journal.

use bytes::Bytes;
use uuid::Uuid;

/// An event as it is stored in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The boot that wrote it.
    pub boot: Uuid,
    /// Its sequence number within that boot.
    pub seq: u64,
    /// The event: one JSON object, without a line end.
    pub json: Bytes,
}
