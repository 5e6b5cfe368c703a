//! Rewrites the files that hold events: segments with blanked frames, files of lines without the
//! erased lines.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use crate::journal::frame::{self, Parsed};
use crate::journal::segment::MAGIC;
use crate::{files, sink};

/// Blanks the matching events of a segment that is no longer written; returns how many there were.
pub(super) fn erase_segment(path: &Path, matches: impl Fn(&[u8]) -> bool) -> io::Result<u64> {
    files::remove_unfinished(path)?;
    let mut data = match fs::read(path) {
        Ok(data) => data,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e),
    };
    let mut count = 0;
    let mut place = MAGIC.len();
    while place < data.len() {
        match frame::parse(&data, place) {
            Parsed::Frame { seq, payload } => {
                let json = data.get_mut(payload.clone()).unwrap_or_default();
                if matches(json) {
                    frame::blank(json);
                    count += 1;
                    let mut new = Vec::with_capacity(payload.end - place);
                    frame::write(&mut new, seq, |out| out.extend_from_slice(json));
                    if let Some(old) = data.get_mut(place..payload.end) {
                        old.copy_from_slice(&new);
                    }
                }
                place = payload.end;
            }
            // Skip damage as readers do.
            _ => match frame::resync(&data, place + 1, 1..u64::MAX) {
                Some(next) => place = next,
                None => break,
            },
        }
    }
    if count > 0 {
        rewrite(path, |out| out.write_all(&data))?;
    }
    Ok(count)
}

/// Removes the matching lines of a file; returns how many there were.
pub(super) fn erase_lines(path: &Path, matches: impl Fn(&[u8]) -> bool) -> io::Result<u64> {
    files::remove_unfinished(path)?;
    let mut count = 0;
    each_line(path, |line| {
        count += u64::from(matches(line));
        Ok(())
    })?;
    if count > 0 {
        let compressed = is_compressed(path);
        rewrite(path, |out| {
            let write =
                |out: &mut dyn Write| each_line(path, |line| if matches(line) { Ok(()) } else { out.write_all(line) });
            if compressed {
                let mut encoder = sink::encoder(out)?;
                write(&mut encoder)?;
                encoder.finish()?;
                Ok(())
            } else {
                write(out)
            }
        })?;
    }
    Ok(count)
}

/// Calls `f` with each line of a file, including its line end.
pub(super) fn each_line(path: &Path, mut f: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let mut lines: Box<dyn BufRead> = if is_compressed(path) {
        Box::new(BufReader::new(zstd::Decoder::new(file)?))
    } else {
        Box::new(BufReader::new(file))
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        // The longest line of ours; longer ones are not ours and pass in pieces, unchanged.
        let read = (&mut lines)
            .take(frame::MAX_PAYLOAD as u64 + 1)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        f(&line)?;
    }
}

fn is_compressed(path: &Path) -> bool {
    path.as_os_str()
        .as_encoded_bytes()
        .ends_with(sink::COMPRESSED.as_bytes())
}

/// Rewrites a file and keeps its modification time, by which its age is measured.
fn rewrite(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let modified = fs::metadata(path)?.modified()?;
    files::replace(path, path, Some(modified), write)
}
