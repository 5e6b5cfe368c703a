//! Certificates and their keys, in memory for the edge and sealed for the store.

pub mod cache;
pub mod certificate;
pub mod sealed;
pub mod tickets;
