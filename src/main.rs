//! The binary: an allocator, a runtime, and the command line.

use std::process::ExitCode;

/// Frees what one thread allocated and another drops without a lock: connections move between workers.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // As many workers as cores.
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(linkseal::cli::main()),
        Err(error) => {
            eprintln!("linkseal: the runtime cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}
