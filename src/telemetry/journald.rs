//! Lines as systemd's journal reads them from stderr: each begins with its priority in angle brackets
//! (sd-daemon(3)). Without it the journal files every line as informational, and `journalctl -p warning` shows
//! none of ours.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// The priorities of syslog(3) as line prefixes.
const ERROR: &str = "<3>";
const WARNING: &str = "<4>";
const INFO: &str = "<6>";
const DEBUG: &str = "<7>";

/// Whether the journal reads this process's stderr: systemd names the device and inode of its stream, and a
/// program that we or a shell started may have inherited the variable with another stderr.
pub(crate) fn is_reader() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    io::stderr()
        .as_fd()
        .try_clone_to_owned()
        .is_ok_and(|stderr| is_stream(&stream.to_string_lossy(), &File::from(stderr)))
}

fn is_stream(stream: &str, file: &File) -> bool {
    file.metadata()
        .is_ok_and(|file| stream == format!("{}:{}", file.dev(), file.ino()))
}

/// Prints the last words of a process that fails, as an error.
pub(crate) fn print_error(message: &str) {
    let prefix = if is_reader() { ERROR } else { "" };
    for line in message.lines() {
        eprintln!("{prefix}{line}");
    }
}

/// Writes each event as one line, with its priority if the journal reads it.
#[derive(Debug)]
pub(super) struct Lines<M> {
    to: M,
    for_journal: bool,
}

impl<M> Lines<M> {
    pub(super) fn new(to: M, for_journal: bool) -> Self {
        Self { to, for_journal }
    }
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Lines<M> {
    type Writer = Line<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line {
            to: self.to.make_writer(),
            prefix: if self.for_journal { INFO } else { "" },
        }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        let prefix = match *event.level() {
            _ if !self.for_journal => "",
            Level::ERROR => ERROR,
            Level::WARN => WARNING,
            Level::INFO => INFO,
            Level::DEBUG | Level::TRACE => DEBUG,
        };
        Line {
            to: self.to.make_writer_for(event),
            prefix,
        }
    }
}

/// One event. The layer writes it at once.
pub(super) struct Line<W> {
    to: W,
    prefix: &'static str,
}

impl<W: Write> Write for Line<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = event.strip_suffix(b"\n").unwrap_or(event);
        if self.prefix.is_empty() && !text.contains(&b'\n') {
            self.to.write_all(event)?;
            return Ok(event.len());
        }
        let mut line = Vec::with_capacity(self.prefix.len() + event.len());
        line.extend_from_slice(self.prefix.as_bytes());
        for (i, part) in text.split(|byte| *byte == b'\n').enumerate() {
            if i > 0 {
                line.extend_from_slice(b"\\n");
            }
            line.extend_from_slice(part);
        }
        line.push(b'\n');
        // The queue takes it as one: it is written or dropped as a whole.
        self.to.write_all(&line)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use linkseal_base::testing::Written;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{Layer, Registry, fmt};

    use super::*;

    fn lines(for_journal: bool, json: bool) -> Vec<String> {
        let written = Written::default();
        let lines = fmt::layer()
            .with_writer(Lines::new(written.clone(), for_journal))
            .with_ansi(false)
            .without_time();
        let lines: Box<dyn Layer<Registry> + Send + Sync> = match json {
            true => Box::new(lines.json().flatten_event(true)),
            false => Box::new(lines),
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::error!("rejected: a\nb");
            tracing::warn!(error = %"one\n<0>two", "failed");
            tracing::info!("started");
            tracing::debug!("details");
            tracing::trace!("more");
        });
        written.text().lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_journal_gets_the_priority_of_each_line() {
        for json in [false, true] {
            let lines = lines(true, json);
            let prefixes: Vec<_> = lines.iter().filter_map(|line| line.get(..3)).collect();
            assert_eq!(prefixes, ["<3>", "<4>", "<6>", "<7>", "<7>"], "{lines:?}");
            assert!(
                lines.iter().all(|line| !json || line[3..].starts_with('{')),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn an_event_is_one_line_without_a_prefix_elsewhere() {
        let text = lines(false, false);
        assert_eq!(text.len(), 5, "{text:?}");
        assert!(
            text[0].starts_with("ERROR") && text[0].ends_with("rejected: a\\nb"),
            "{text:?}"
        );
        assert!(text[1].ends_with("one\\n<0>two"), "{text:?}");
        assert!(lines(false, true).iter().all(|line| line.starts_with('{')));
    }

    #[test]
    fn the_journal_is_recognized_by_its_stream() {
        let file = tempfile::tempfile().unwrap();
        let of = file.metadata().unwrap();
        assert!(is_stream(&format!("{}:{}", of.dev(), of.ino()), &file));
        assert!(!is_stream(&format!("{}:{}", of.dev(), of.ino() + 1), &file));
        assert!(!is_stream("", &file));
    }
}
