//! Answers that a client must not read to the end: endless bodies, bodies that trickle, and headers
//! larger than any client accepts.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use http_body_util::{Either, Full};
use tokio::time::{Interval, interval};

use super::stats::Counters;

/// One piece of an endless body.
const PIECE: &[u8] = &[b' '; 64 * 1024];
/// The pause before each byte of a body that trickles.
const DRIP: Duration = Duration::from_millis(20);
/// The number of large headers: together they exceed what any client accepts.
const HEADERS: usize = 64;
/// The length of each, in bytes.
const HEADER_LENGTH: usize = 32 * 1024;
const HEADER: HeaderName = HeaderName::from_static("x-flood");

/// How a CA floods its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// An endless body, as fast as the client reads.
    Endless,
    /// An endless body, a byte at a time.
    Trickle,
    /// Two megabytes of headers.
    Headers,
}

/// The body of an answer.
pub(super) type AnswerBody = Either<Full<Bytes>, Spaces>;

/// Endless spaces, which JSON and PEM allow before their content.
pub(super) struct Spaces {
    stats: Arc<Counters>,
    drip: Option<Interval>,
}

impl Flood {
    /// Turns an answer into a flood.
    pub(super) fn spoil(self, stats: &Arc<Counters>, answer: Response<Full<Bytes>>) -> Response<AnswerBody> {
        let spaces = |drip| {
            Either::Right(Spaces {
                stats: Arc::clone(stats),
                drip,
            })
        };
        match self {
            Self::Endless => answer.map(|_| spaces(None)),
            Self::Trickle => answer.map(|_| spaces(Some(interval(DRIP)))),
            Self::Headers => {
                let mut answer = answer.map(Either::Left);
                add_headers(answer.headers_mut());
                answer
            }
        }
    }
}

fn add_headers(headers: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::try_from("x".repeat(HEADER_LENGTH)) {
        for _ in 0..HEADERS {
            headers.append(HEADER, value.clone());
        }
    }
}

impl Body for Spaces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut self.drip {
            Some(drip) => {
                ready!(drip.poll_tick(context));
                Bytes::from_static(b" ")
            }
            None => Bytes::from_static(PIECE),
        };
        self.stats.count(|s| s.flooded += piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}
