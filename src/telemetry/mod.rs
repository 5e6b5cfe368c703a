//! The log of the process.

mod bounded;
pub mod logs;
