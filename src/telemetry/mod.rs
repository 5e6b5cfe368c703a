//! The log of the process.

mod bounded;
pub(crate) mod journald;
pub(crate) mod logs;
