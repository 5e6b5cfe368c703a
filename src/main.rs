//! The binary: an allocator, a runtime, and the command line.

use std::process::ExitCode;
use std::time::Duration;

/// Frees what one thread allocated and another drops without a lock: connections move between workers.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long work that blocks may take to end when all else has ended.
const END: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    // As many workers as cores.
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(linkseal::cli::main());
            // A disk that does not answer keeps threads, and must not keep the process.
            runtime.shutdown_timeout(END);
            code
        }
        Err(error) => {
            eprintln!("linkseal: the runtime cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}
