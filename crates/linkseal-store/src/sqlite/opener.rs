//! Opens a store again that could not be written at the start.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::{Live, worker};

/// Interval of attempts.
const OPEN_AGAIN: Duration = Duration::from_secs(5);
/// One log line per this many attempts.
const LOG_EVERY: u32 = 60;

/// A thread that opens the file for writing as soon as that works. Dropping it ends the thread.
pub(super) struct Opener {
    /// `None`: it is to end.
    keep_on: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Opener {
    /// `None` if no thread can be started.
    pub(super) fn start(path: PathBuf, live: Weak<ArcSwap<Live>>) -> Option<Self> {
        let (keep_on, ended) = mpsc::channel();
        let body = move || open_again(&path, &live, &ended);
        match thread::Builder::new().name("store-opener".into()).spawn(body) {
            Ok(thread) => Some(Self {
                keep_on: Some(keep_on),
                thread: Some(thread),
            }),
            Err(error) => {
                tracing::error!(%error, "no thread could be started to open the store again; restart linkseal once its disk is writable");
                None
            }
        }
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.keep_on = None;
        worker::join(self.thread.take());
    }
}

/// Returns once the file was opened, or when `ended` is disconnected.
fn open_again(path: &Path, live: &Weak<ArcSwap<Live>>, ended: &mpsc::Receiver<()>) {
    for tries in 1u32.. {
        if ended.recv_timeout(OPEN_AGAIN) != Err(mpsc::RecvTimeoutError::Timeout) {
            return;
        }
        match Live::open(path) {
            Ok(opened) => {
                if let Some(live) = live.upgrade() {
                    live.store(Arc::new(opened));
                    tracing::warn!("the store can be written again");
                }
                return;
            }
            Err(error) if tries.is_multiple_of(LOG_EVERY) => {
                tracing::error!(%error, "the store still cannot be written; serving it read-only");
            }
            Err(_) => {}
        }
    }
}
