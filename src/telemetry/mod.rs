//! Logs and metrics.

mod bounded;
pub mod logs;
pub mod metrics;
mod process;
