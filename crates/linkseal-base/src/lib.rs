//! The foundation of the other crates: one clock, one source of randomness, tasks that end with their
//! owner, the cores of the data plane, memory, whose fault an error is, the identity of files, strict JSON, paths as
//! logged and the registry of metrics. It knows nothing of domains, networks or links.

pub mod clock;
pub mod cores;
pub mod fault;
pub mod file_id;
pub mod json;
pub mod log_path;
pub mod memory;
pub mod metrics;
mod process;
pub mod random;
pub mod shutdown;
pub mod summed;
#[cfg(feature = "testing")]
pub mod testing;
pub mod uuid7;
