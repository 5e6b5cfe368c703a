//! The binary: the allocator, and [`linkseal::run`].

use std::process::ExitCode;

/// Connections move between workers: mimalloc frees without a lock what another thread allocated.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    linkseal::run()
}
