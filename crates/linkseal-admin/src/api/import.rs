//! `POST /v1/domains/import`: one domain per line in, one answer per line out, both streamed. A
//! million lines take no more memory than a hundred.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::response::Response;
use axum::routing::MethodFilter;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::StatusCode;
use linkseal_config::admin::Role;
use linkseal_control::{Import, NewDomain};
use tokio::time::timeout;

use super::export::LINES;
use crate::access::Caller;
use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::input::{self, MAX_BODY};
use crate::problem::Problem;
use crate::query::import::{in_flight, is_comment, without_bom, without_state};
use crate::scope::Reach;

/// How long the client may send nothing before the end of the body.
const STALL: Duration = Duration::from_secs(60);

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::POST,
            "/v1/domains/import",
            Role::Admin,
            "Register many domains, one per line of at most 64 KiB, in the format of an export. Lines that begin with # \
             are ignored. Every line is answered in order and as soon as it is done, so read while sending.",
            import,
        )
        .reach(Reach::Narrowed)
        .body(Content::lines::<NewDomain>())
        .answers(StatusCode::OK, Content::lines::<Import>(), "One answer per line."),
    ]
}

async fn import(State(context): State<Arc<Context>>, caller: Caller, body: Body) -> Result<Response, Problem> {
    let permit = Arc::new(context.open_stream(&context.transfers, &caller)?);
    let concurrent = in_flight(caller.scope());
    let answers = lines(body.into_data_stream(), STALL)
        .map(move |line| {
            let (context, permit, caller) = (context.clone(), permit.clone(), caller.clone());
            async move {
                // An error breaks the connection: a line without an answer was not registered.
                if !context.still_grants(&permit) {
                    return Err(io::Error::other("the token was changed or removed"));
                }
                answer(&context, &caller, line).await
            }
        })
        .buffered(concurrent)
        .inspect_err(|error| tracing::warn!(%error, "import failed; closed the connection"));
    Ok(input::stream(LINES, answers))
}

async fn answer(context: &Context, caller: &Caller, line: Line) -> Result<Bytes, io::Error> {
    let failed = |error: String| Import {
        line: line.number,
        name: None,
        result: "error",
        error: Some(error),
        state: None,
        refused: None,
    };
    let import = match line.text {
        Ok(text) => match context.checks.for_registration(caller, context.control.clock()).await {
            Ok(_turn) => {
                let text = without_state(text);
                context
                    .control
                    .operator()
                    .import_line(line.number, &text, &caller.actor())
                    .await
            }
            Err(problem) => failed(problem.detail().to_owned()),
        },
        Err(error) => failed(error.to_owned()),
    };
    let mut out = serde_json::to_vec(&import)?;
    out.push(b'\n');
    Ok(out.into())
}

/// A line that is neither blank nor a comment.
struct Line {
    /// From 1, including blank lines and comments.
    number: usize,
    /// The text, or why it could not be read.
    text: Result<String, &'static str>,
}

/// Splits a body into lines.
fn lines(body: BodyDataStream, stall: Duration) -> impl Stream<Item = Line> {
    let reader = LineReader {
        body,
        stall,
        buffer: BytesMut::new(),
        number: 0,
        skipping: false,
        ended: false,
    };
    stream::unfold(reader, async |mut reader| {
        reader.next().await.map(|line| (line, reader))
    })
}

struct LineReader {
    body: BodyDataStream,
    stall: Duration,
    buffer: BytesMut,
    number: usize,
    /// Whether the rest of a line that is too long is being skipped.
    skipping: bool,
    ended: bool,
}

impl LineReader {
    /// The next line that is neither blank nor a comment.
    async fn next(&mut self) -> Option<Line> {
        loop {
            while let Some(end) = self.buffer.iter().position(|&b| b == b'\n') {
                let line = self.buffer.split_to(end + 1);
                if std::mem::take(&mut self.skipping) {
                    continue;
                }
                if let Some(line) = self.line(&line) {
                    return Some(line);
                }
            }
            if self.skipping {
                self.buffer.clear();
            } else if self.buffer.len() > MAX_BODY {
                self.skipping = true;
                self.buffer.clear();
                return Some(self.failed("the line is longer than 65536 bytes"));
            }
            if self.ended {
                let rest = self.buffer.split();
                return self.line(&rest);
            }
            match timeout(self.stall, self.body.next()).await {
                Ok(Some(Ok(bytes))) => self.buffer.extend_from_slice(&bytes),
                Ok(None) => self.ended = true,
                Ok(Some(Err(_))) => {
                    return self.broken("the body was cut off; this line and those after it were not read");
                }
                Err(_) => return self.broken("no data for too long; this line and those after it were not read"),
            }
        }
    }

    fn line(&mut self, bytes: &[u8]) -> Option<Line> {
        if bytes.is_empty() {
            return None;
        }
        if bytes.len() > MAX_BODY + 1 {
            return Some(self.failed("the line is longer than 65536 bytes"));
        }
        self.number += 1;
        let text = match str::from_utf8(bytes.trim_ascii()) {
            Ok(text) => {
                let text = if self.number == 1 {
                    without_bom(text).trim_ascii()
                } else {
                    text
                };
                if is_comment(text) {
                    return None;
                }
                Ok(text.to_owned())
            }
            Err(_) => Err("the line is not UTF-8"),
        };
        Some(Line {
            number: self.number,
            text,
        })
    }

    fn failed(&mut self, error: &'static str) -> Line {
        self.number += 1;
        Line {
            number: self.number,
            text: Err(error),
        }
    }

    /// Drops the incomplete line.
    fn broken(&mut self, error: &'static str) -> Option<Line> {
        self.buffer.clear();
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        Some(self.failed(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn cut(chunks: Vec<Result<Vec<u8>, io::Error>>) -> Vec<(usize, Result<String, &'static str>)> {
        let body = Body::from_stream(stream::iter(chunks)).into_data_stream();
        lines(body, STALL).map(|l| (l.number, l.text)).collect().await
    }

    #[tokio::test]
    async fn lines_are_read_whole_however_the_body_is_chunked() {
        let text = b"{\"a\":1}\n\n  \r\n{\"b\":2}\r\nlast";
        let expected = [(1, "{\"a\":1}"), (4, "{\"b\":2}"), (5, "last")].map(|(n, t)| (n, Ok(t.to_owned())));
        for size in [1, 2, 3, 7, 100] {
            let chunks = text.chunks(size).map(|c| Ok(c.to_vec())).collect();
            assert_eq!(cut(chunks).await, expected, "{size}");
        }
        assert!(cut(vec![]).await.is_empty());
        assert!(cut(vec![Ok(b"\n\n".to_vec())]).await.is_empty());
    }

    #[tokio::test]
    async fn comments_and_the_byte_order_mark_are_skipped() {
        let text = "\u{feff}{\"a\":1}\n# a comment\n  # another\n{\"b\":2}\n#";
        let expected = [(1, "{\"a\":1}"), (4, "{\"b\":2}")].map(|(n, t)| (n, Ok(t.to_owned())));
        for size in [1, 2, 100] {
            let chunks = text.as_bytes().chunks(size).map(|c| Ok(c.to_vec())).collect();
            assert_eq!(cut(chunks).await, expected, "{size}");
        }
        assert!(cut(vec![Ok("\u{feff}# only a comment".into())]).await.is_empty());
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_skipped() {
        let mut text = vec![b'x'; MAX_BODY];
        text.extend_from_slice(b"\nok\n");
        let whole = cut(text.chunks(1000).map(|c| Ok(c.to_vec())).collect()).await;
        assert_eq!(whole.len(), 2);
        assert!(whole[0].1.is_ok());
        for size in [999, 1 << 20] {
            let mut text = vec![b'x'; 3 * MAX_BODY];
            text.extend_from_slice(b"\nok\n\xff\n");
            let found = cut(text.chunks(size).map(|c| Ok(c.to_vec())).collect()).await;
            assert_eq!(
                found,
                [
                    (1, Err("the line is longer than 65536 bytes")),
                    (2, Ok("ok".to_owned())),
                    (3, Err("the line is not UTF-8")),
                ],
                "{size}"
            );
        }
    }

    #[tokio::test]
    async fn an_incomplete_line_is_dropped() {
        let chunks = vec![
            Ok(b"a\nb".to_vec()),
            Err(io::Error::other("reset")),
            Ok(b"c\n".to_vec()),
        ];
        let found = cut(chunks).await;
        assert_eq!(found[0], (1, Ok("a".to_owned())));
        assert!(found[1].1.as_ref().unwrap_err().contains("cut off"));
        assert_eq!(found.len(), 2);
    }

    #[tokio::test]
    async fn a_body_that_stalls_ends() {
        let stalls = stream::iter([Ok::<_, io::Error>(b"a\n".to_vec())]).chain(stream::pending());
        let body = Body::from_stream(stalls).into_data_stream();
        let found: Vec<_> = lines(body, Duration::from_millis(1)).collect().await;
        assert_eq!(found.len(), 2);
        assert!(found[1].text.as_ref().unwrap_err().contains("too long"));
    }
}
