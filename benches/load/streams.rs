//! Requests on an HTTP/2 connection: ten streams at a time, a new one for each response. Frames are written and
//! read by hand, so that the client is cheaper than the servers and keeps them busy.

use std::collections::HashMap;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::Fallible;
use crate::client::{Client, TIMEOUT, USER_AGENT};
use crate::measure::Turn;

/// Streams of a connection at a time.
const STREAMS: u32 = 10;

/// The client's connection preface (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Frame types and flags (RFC 9113 §6).
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const WINDOW_UPDATE: u8 = 0x8;
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
/// Length of a frame's head.
const FRAME_HEAD: usize = 9;
/// The whole flow-control window of a connection: the client never updates it (RFC 9113 §6.9.1).
const WINDOW: u32 = (1 << 31) - 1;
const INITIAL_WINDOW: u32 = 65_535;
/// SETTINGS_ENABLE_PUSH = 0.
const NO_PUSH: [u8; 6] = [0, 2, 0, 0, 0, 0];

/// Fields of HPACK's static table (RFC 7541 App. A), as indexed representations, and the names of others.
const METHOD_GET: u8 = 0x80 | 2;
const SCHEME_HTTPS: u8 = 0x80 | 7;
const STATUS_200: u8 = 0x80 | 8;
const AUTHORITY: u8 = 1;
const PATH: u8 = 4;
const AGENT: u8 = 58;
/// A literal whose field is added to the dynamic table (RFC 7541 §6.2.1).
const INDEXING: u8 = 0x40;
/// The two fields that the first request adds, as indexed representations: the newest has index 62.
const ADDED: [u8; 2] = [0x80 | 63, 0x80 | 62];

pub(crate) async fn run(client: Rc<Client>, turn: Rc<Turn>) -> Fallible<()> {
    let expected = client.expected_body()?;
    let mut stream = timeout(TIMEOUT, client.connect(&client.connector())).await??;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err("the server does not speak HTTP/2".into());
    }
    let mut connection = Connection::new(client.name());
    for measured in [false, true] {
        if measured {
            turn.pause().await;
        }
        for _ in 0..STREAMS {
            connection.send(&client.request()?.path);
        }
        while !connection.bodies.is_empty() {
            timeout(TIMEOUT, async {
                stream.write_all(&connection.out).await?;
                stream.flush().await?;
                connection.out.clear();
                match stream.read_buf(&mut connection.input).await? {
                    0 => Err("the server closed a connection".into()),
                    _ => Fallible::Ok(()),
                }
            })
            .await??;
            for _ in 0..connection.answers(expected)? {
                turn.answered();
                if turn.goes_on() {
                    connection.send(&client.request()?.path);
                }
            }
        }
    }
    Ok(())
}

struct Connection {
    input: Vec<u8>,
    out: Vec<u8>,
    /// Fields of the first request; later ones refer to them.
    first: Option<Vec<u8>>,
    next_stream: u32,
    /// What has arrived of the responses that are awaited.
    bodies: HashMap<u32, Body>,
}

#[derive(Default)]
struct Body {
    status: bool,
    data: Vec<u8>,
}

impl Connection {
    fn new(name: &str) -> Self {
        let mut out = PREFACE.to_vec();
        frame(&mut out, SETTINGS, 0, 0, &NO_PUSH);
        frame(&mut out, WINDOW_UPDATE, 0, 0, &(WINDOW - INITIAL_WINDOW).to_be_bytes());
        let mut first = Vec::new();
        field(&mut first, INDEXING | AUTHORITY, name);
        field(&mut first, INDEXING | AGENT, USER_AGENT);
        Self {
            input: Vec::with_capacity(1 << 14),
            out,
            first: Some(first),
            next_stream: 1,
            bodies: HashMap::new(),
        }
    }

    fn send(&mut self, path: &str) {
        let mut block = vec![METHOD_GET, SCHEME_HTTPS];
        // A path is not added to the dynamic table, as in common clients.
        field(&mut block, PATH, path);
        block.extend(self.first.take().unwrap_or_else(|| ADDED.to_vec()));
        frame(
            &mut self.out,
            HEADERS,
            END_HEADERS | END_STREAM,
            self.next_stream,
            &block,
        );
        self.bodies.insert(self.next_stream, Body::default());
        self.next_stream += 2;
    }

    /// Reads the frames that have arrived and returns how many responses are complete.
    fn answers(&mut self, expected: &[u8]) -> Fallible<usize> {
        let (mut at, mut count) = (0, 0);
        while let Some((head, rest)) = self.input.get(at..).and_then(<[u8]>::split_first_chunk::<FRAME_HEAD>) {
            let [high, middle, low, kind, flags, stream @ ..] = *head;
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            let stream = u32::from_be_bytes(stream);
            let Some(payload) = rest.get(..length) else {
                break;
            };
            at += FRAME_HEAD + length;
            match kind {
                SETTINGS if flags & ACK == 0 => frame(&mut self.out, SETTINGS, ACK, 0, &[]),
                PING if flags & ACK == 0 => frame(&mut self.out, PING, ACK, 0, payload),
                SETTINGS | PING | WINDOW_UPDATE => {}
                HEADERS | DATA if flags & PADDED == 0 => {
                    let body = self.bodies.get_mut(&stream).ok_or("a response to no request")?;
                    match kind {
                        DATA => body.data.extend_from_slice(payload),
                        _ => body.status = flags & END_HEADERS != 0 && is_200(payload),
                    }
                    if flags & END_STREAM != 0 {
                        let body = self.bodies.remove(&stream).unwrap_or_default();
                        if !body.status || body.data != expected {
                            return Err(
                                format!("expected 200 with another body than {}", body.data.escape_ascii()).into(),
                            );
                        }
                        count += 1;
                    }
                }
                // RST_STREAM and GOAWAY among them.
                _ => {
                    return Err(format!(
                        "unexpected frame: {}",
                        [head.as_slice(), payload].concat().escape_ascii()
                    )
                    .into());
                }
            }
        }
        self.input.drain(..at);
        Ok(count)
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    out.extend(length);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

/// Whether a header block begins with status 200, after updates of the table's size (RFC 7541 §6.3). All peers
/// write it as a field of the static table.
fn is_200(block: &[u8]) -> bool {
    let mut bytes = block.iter().copied();
    loop {
        match bytes.next() {
            Some(update) if update >> 5 == 0b001 => {
                // The largest value of the prefix says that more bytes follow.
                if update & 0x1f == 0x1f {
                    while bytes.next().is_some_and(|b| b & 0x80 != 0) {}
                }
            }
            first => return first == Some(STATUS_200),
        }
    }
}

/// Writes a literal field with an indexed name, Huffman-coded as clients do (RFC 7541 §5.2, §6.2).
fn field(block: &mut Vec<u8>, name: u8, value: &str) {
    let prefix: u8 = match name & INDEXING {
        0 => 4,
        _ => 6,
    };
    integer(
        block,
        name & !((1 << prefix) - 1),
        prefix,
        usize::from(name & ((1 << prefix) - 1)),
    );
    match huffman(value.as_bytes()) {
        Some(coded) => {
            integer(block, 0x80, 7, coded.len());
            block.extend(coded);
        }
        None => {
            integer(block, 0, 7, value.len());
            block.extend(value.as_bytes());
        }
    }
}

/// RFC 7541 §5.1.
fn integer(block: &mut Vec<u8>, flags: u8, prefix: u8, value: usize) {
    let limit = (1 << prefix) - 1;
    if value < limit {
        block.push(flags | value as u8);
        return;
    }
    block.push(flags | limit as u8);
    let mut rest = value - limit;
    while rest >= 0x80 {
        block.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

/// The code of RFC 7541 App. B, as far as URLs need it: characters in order of their codes, by length in bits, with
/// the first code of that length.
const CODES: [(u32, u32, &[u8]); 4] = [
    (5, 0x0, b"012aceiost"),
    (6, 0x14, b" %-./3456789=A_bdfghlmnpru"),
    (7, 0x5c, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 0xf8, b"&*,;XZ"),
];

/// `None`: a character is not in `CODES`.
fn huffman(text: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut bits, mut pending) = (Vec::with_capacity(text.len()), 0u64, 0);
    for byte in text {
        let (length, code) = CODES.iter().find_map(|(length, first, characters)| {
            let n = characters.iter().position(|c| c == byte)?;
            Some((*length, first + n as u32))
        })?;
        bits = bits << length | u64::from(code);
        pending += length;
        while pending >= 8 {
            pending -= 8;
            out.push((bits >> pending) as u8);
        }
    }
    if pending > 0 {
        // Padded with ones, the beginning of EOS.
        out.push((bits << (8 - pending)) as u8 | (0xff >> pending));
    }
    Some(out)
}
