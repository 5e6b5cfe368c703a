//! Logs and metrics.

mod bounded;
pub mod logs;
pub mod metrics;
mod process;
#[cfg(test)]
pub(crate) mod testing;
