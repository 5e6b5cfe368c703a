//! Request targets as mail programs send them. Quotes, angle brackets and bytes from 0x80 on are not
//! allowed in a request target (RFC 9112 §3.2), nor are `\`, `^`, a backtick and `|` in its path. hyper
//! answers them with 400, but mail programs and scanners send them. So they are percent-encoded before
//! hyper reads them: in the request line of HTTP/1.1 and nowhere else.
//!
//! To find request lines, the stream is followed: head lines up to the empty one, then a body by its only
//! length or its chunks. At anything ambiguous (two lengths, other codings, CONNECT) following ends, and
//! all further bytes pass unchanged. A body is never changed, and hyper alone decides what a request is.

use std::io;
use std::io::BufRead;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes kept of a line that comes in several reads: a method, or a header with a body's length.
const LINE: usize = 48;

/// A stream whose request targets are encoded.
pub(super) struct Encoded<IO> {
    io: IO,
    follower: Follower,
    /// Encoded bytes that the reader had no room for: at most three times what one read brought.
    pending: io::Cursor<Vec<u8>>,
}

impl<IO> Encoded<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self {
            io,
            follower: Follower::default(),
            pending: io::Cursor::default(),
        }
    }

    pub(super) fn get_ref(&self) -> &IO {
        &self.io
    }

    /// Whether it has bytes to hand out without reading.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.get_ref().is_empty()
    }

    /// Hands bytes out again that were read and not used.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        let at = usize::try_from(self.pending.position()).unwrap_or(usize::MAX);
        let rest = self.pending.get_ref().get(at..).unwrap_or_default();
        self.pending = io::Cursor::new([bytes, rest].concat());
    }

    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let at = usize::try_from(self.pending.position()).unwrap_or(usize::MAX);
        let rest = self.pending.get_ref().get(at..).unwrap_or_default();
        let now = rest.get(..buf.remaining()).unwrap_or(rest);
        buf.put_slice(now);
        if now.len() == rest.len() {
            self.pending = io::Cursor::default();
        } else {
            self.pending.set_position((at + now.len()) as u64);
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Encoded<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.pending.get_ref().is_empty() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
            let read = buf.filled().get(before..).unwrap_or_default();
            let Some(encoded) = this.follower.follow(read) else {
                return Poll::Ready(Ok(()));
            };
            buf.set_filled(before);
            this.pending = io::Cursor::new(encoded);
        }
        this.hand_out(buf);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Encoded<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The position in the stream of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before or in the method; empty lines may come before it (RFC 9112 §2.2).
    #[default]
    Method,
    /// In the target, or in its query.
    Target { query: bool },
    /// In the rest of the request line.
    Version,
    /// In the lines of the head.
    Head,
    /// In a body of a known length, or in a chunk.
    Body { left: u64, chunk: bool },
    /// In the line with a chunk's length.
    ChunkSize,
    /// In the line end after a chunk.
    ChunkEnd,
    /// In the lines after the last chunk.
    Trailers,
    /// No longer followed.
    Lost,
}

/// The body, according to the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Length {
    #[default]
    None,
    Known(u64),
    Chunked,
    /// Ambiguous, or not understood.
    Unclear,
}

/// Follows a stream of requests.
#[derive(Debug, Default)]
struct Follower {
    place: Place,
    length: Length,
    /// The beginning of the current line, from an earlier read; [`LINE`] bytes at most.
    line: Vec<u8>,
    /// Whether the current line is longer than what is kept of it.
    cut: bool,
}

impl Follower {
    /// Follows what was read. `None` if it passes unchanged.
    fn follow(&mut self, read: &[u8]) -> Option<Vec<u8>> {
        let mut changed: Option<Vec<u8>> = None;
        let mut rest = read;
        while !rest.is_empty() && self.place != Place::Lost {
            let place = self.place;
            let (taken, after) = rest.split_at_checked(self.step(rest)).unwrap_or((rest, &[]));
            if let Place::Target { query } = place
                && taken.iter().fold(false, |any, b| any | is_encoded(*b, query))
            {
                let before = read.get(..read.len() - rest.len()).unwrap_or_default();
                let out = changed.get_or_insert_with(|| before.to_vec());
                encode(taken, |byte| is_encoded(byte, query), out);
            } else if let Some(out) = &mut changed {
                out.extend_from_slice(taken);
            }
            rest = after;
        }
        if let Some(out) = &mut changed {
            out.extend_from_slice(rest);
        }
        changed
    }

    /// Takes the next piece, returning its length.
    fn step(&mut self, rest: &[u8]) -> usize {
        match self.place {
            Place::Method => {
                let end = rest.iter().position(|b| matches!(b, b' ' | b'\n'));
                let taken = end.map_or(rest.len(), |end| end + 1);
                let piece = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                if end.is_none() || !self.line.is_empty() {
                    self.keep(piece);
                }
                let method = if self.line.is_empty() { piece } else { &self.line };
                match end.and_then(|end| rest.get(end)) {
                    // A tunnel may follow.
                    Some(b' ') if method == b"CONNECT" => self.place = Place::Lost,
                    Some(b' ') => self.to(Place::Target { query: false }),
                    Some(_) if !self.cut && method.trim_ascii().is_empty() => self.to(Place::Method),
                    Some(_) => self.place = Place::Lost,
                    None => {}
                }
                taken
            }
            Place::Target { query } => {
                let mut taken = until(rest, b' ');
                if !query {
                    taken = until(rest.get(..taken).unwrap_or(rest), b'?');
                }
                let target = rest.get(..taken).unwrap_or_default();
                // One pass without a branch per byte: hardly any target has such a byte.
                if target.iter().fold(false, |any, b| any | (*b < b' ')) {
                    // The line ends, or hyper refuses it: what follows passes unchanged.
                    taken = target.iter().position(|b| *b < b' ').unwrap_or(taken);
                    self.place = Place::Lost;
                } else if target.ends_with(b" ") {
                    self.to(Place::Version);
                } else if target.ends_with(b"?") {
                    self.place = Place::Target { query: true };
                }
                taken
            }
            Place::Version => self.line(rest, |this, _, _| this.to(Place::Head)),
            Place::Head => self.line(rest, Self::head_line),
            Place::Body { left, chunk } => {
                let here = u64::try_from(rest.len()).unwrap_or(u64::MAX).min(left);
                self.place = match (left - here, chunk) {
                    (0, false) => Place::Method,
                    (0, true) => Place::ChunkEnd,
                    (left, chunk) => Place::Body { left, chunk },
                };
                usize::try_from(here).unwrap_or(rest.len())
            }
            Place::ChunkSize => self.line(rest, |this, line, cut| {
                let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
                // More digits may have been cut off.
                let whole = !cut || digits < line.len();
                let size = line.get(..digits).filter(|_| whole);
                let size = size.and_then(|d| str::from_utf8(d).ok());
                this.place = match size.and_then(|s| u64::from_str_radix(s, 16).ok()) {
                    Some(0) => Place::Trailers,
                    Some(left) => Place::Body { left, chunk: true },
                    None => Place::Lost,
                };
            }),
            Place::ChunkEnd => self.line(rest, |this, line, _| {
                this.place = if line.is_empty() { Place::ChunkSize } else { Place::Lost };
            }),
            Place::Trailers => self.line(rest, |this, line, _| {
                if line.is_empty() {
                    this.to(Place::Method);
                }
            }),
            Place::Lost => rest.len(),
        }
    }

    /// Takes a line, or the part that is there. Calls `f` at the end of a line, with what is kept of it
    /// without its line end, and whether that is cut.
    fn line(&mut self, rest: &[u8], f: impl FnOnce(&mut Self, &[u8], bool)) -> usize {
        let taken = until(rest, b'\n');
        let piece = rest.get(..taken).unwrap_or_default();
        match piece.strip_suffix(b"\n") {
            None => self.keep(piece),
            Some(line) if self.line.is_empty() => f(self, line.strip_suffix(b"\r").unwrap_or(line), false),
            Some(line) => {
                self.keep(line);
                let (line, cut) = (std::mem::take(&mut self.line), std::mem::take(&mut self.cut));
                f(self, line.strip_suffix(b"\r").unwrap_or(&line), cut);
            }
        }
        taken
    }

    /// Keeps the beginning of an incomplete line.
    fn keep(&mut self, piece: &[u8]) {
        let room = LINE.saturating_sub(self.line.len());
        self.line.extend_from_slice(piece.get(..room).unwrap_or(piece));
        self.cut |= piece.len() > room;
    }

    fn to(&mut self, place: Place) {
        self.place = place;
        self.line = Vec::new();
        self.cut = false;
    }

    fn head_line(&mut self, line: &[u8], cut: bool) {
        match line.first() {
            None => {
                self.place = match std::mem::take(&mut self.length) {
                    Length::None | Length::Known(0) => Place::Method,
                    Length::Known(left) => Place::Body { left, chunk: false },
                    Length::Chunked => Place::ChunkSize,
                    Length::Unclear => Place::Lost,
                };
            }
            Some(b'C' | b'c' | b'T' | b't') => {
                let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
                let (name, value) = line.split_at_checked(colon).unwrap_or_default();
                let value = value.get(1..).unwrap_or_default().trim_ascii();
                let said = if name.eq_ignore_ascii_case(b"content-length") {
                    known(value)
                } else if !name.eq_ignore_ascii_case(b"transfer-encoding") {
                    return;
                } else if value.eq_ignore_ascii_case(b"chunked") {
                    Length::Chunked
                } else {
                    Length::Unclear
                };
                // The rest of the value may say something else.
                let said = if cut { Length::Unclear } else { said };
                self.length = if self.length == Length::None {
                    said
                } else {
                    Length::Unclear
                };
            }
            // A folded line (RFC 9112 §5.2), which hyper refuses.
            Some(b' ' | b'\t') => self.length = Length::Unclear,
            Some(_) => {}
        }
    }
}

/// A body's length.
fn known(value: &[u8]) -> Length {
    let digits = !value.is_empty() && value.len() < 20 && value.iter().all(u8::is_ascii_digit);
    let length = str::from_utf8(value)
        .ok()
        .filter(|_| digits)
        .and_then(|v| v.parse().ok());
    length.map_or(Length::Unclear, Length::Known)
}

/// The length up to and including a byte, or of all there is.
fn until(mut rest: &[u8], byte: u8) -> usize {
    // Never fails on a slice, and searches with memchr.
    rest.skip_until(byte).unwrap_or(rest.len())
}

/// A target whose bytes HTTP/2 let through, spelled as over HTTP/1.1: a back end may speak that. `None` if
/// it stays as it is.
pub(super) fn encoded(target: &str) -> Option<String> {
    let (path, query) = target
        .split_at_checked(until(target.as_bytes(), b'?'))
        .unwrap_or((target, ""));
    // HTTP/2 lets DEL through, which hyper refuses over HTTP/1.1.
    let in_path = |byte| is_encoded(byte, false) || byte == 0x7F;
    let in_query = |byte| is_encoded(byte, true) || byte == 0x7F;
    if !path.bytes().any(in_path) && !query.bytes().any(in_query) {
        return None;
    }
    let mut out = Vec::with_capacity(target.len() + 16);
    encode(path.as_bytes(), in_path, &mut out);
    encode(query.as_bytes(), in_query, &mut out);
    String::from_utf8(out).ok()
}

/// Bytes that hyper refuses, control characters aside. It allows more in a query.
fn is_encoded(byte: u8, query: bool) -> bool {
    let in_path = (byte == b'\\') | (byte == b'^') | (byte == b'`') | (byte == b'|');
    (byte == b'"') | (byte == b'<') | (byte == b'>') | (byte >= 0x80) | (!query & in_path)
}

fn encode(target: &[u8], is_encoded: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in target {
        if is_encoded(*byte) {
            out.push(b'%');
            out.extend(
                [byte >> 4, byte & 15]
                    .iter()
                    .filter_map(|digit| HEX.get(usize::from(*digit))),
            );
        } else {
            out.push(*byte);
        }
    }
}

#[cfg(test)]
mod tests;
