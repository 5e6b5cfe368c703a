//! Certificates and their keys: as the edge serves them from memory, and as they rest in the store.

pub mod cache;
pub mod certificate;
pub mod sealed;
pub mod tickets;
