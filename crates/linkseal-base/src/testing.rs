//! Captures log lines for tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests may panic")]

use std::io;
use std::sync::{Arc, Mutex};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// A writer for log lines that a test reads back. Clones share one buffer.
#[derive(Clone, Default)]
pub struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    /// Captures the lines of this thread, until what is returned is dropped.
    #[must_use = "the capture ends when it is dropped"]
    pub fn capture(&self, level: LevelFilter) -> impl Sized + use<> {
        // tracing decides once for each call site whether any subscriber wants it. Without a default one, a
        // test of another thread that passes there first would switch it off for all.
        let _ = tracing_subscriber::registry().try_init();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_max_level(level);
        lines.with_writer(self.clone()).finish().set_default()
    }

    /// Everything written so far.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
