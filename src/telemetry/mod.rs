//! The log of the process.

mod bounded;
pub(crate) mod logs;
