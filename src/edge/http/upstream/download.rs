//! A response's body on its way to the client: piece by piece, as fast as the client takes it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

use super::pool::{Backend, Link};
use crate::edge::http::server::{Ongoing, Session, Waiting};

/// The body of a response, with all that is held for it.
pub(in crate::edge::http) struct Download {
    body: Incoming,
    /// Whether it was read to its end.
    ended: bool,
    /// The connection it comes on, and whose that is. `None`: it is used for nothing else.
    link: Option<(Link, Arc<Backend>)>,
    idle: Duration,
    /// When the back end has been silent for too long. Runs while it is waited for.
    alarm: Pin<Box<Sleep>>,
    /// Tells the client's connection that it is the back end that is waited for.
    waiting: Option<Waiting>,
    session: Arc<Session>,
    _ongoing: Ongoing,
    _room: OwnedSemaphorePermit,
}

/// Why a body ends early: the client's connection is cut, so that it cannot be taken for whole.
#[derive(Debug, thiserror::Error)]
pub(in crate::edge::http) enum DownloadError {
    #[error("the back end broke off: {0}")]
    BrokenOff(#[from] hyper::Error),
    #[error("the back end was silent for {0:?}")]
    Silent(Duration),
}

impl Download {
    pub(super) fn new(
        body: Incoming,
        link: Option<(Link, Arc<Backend>)>,
        idle: Duration,
        session: &Arc<Session>,
        room: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            body,
            ended: false,
            link,
            idle,
            alarm: Box::pin(sleep(idle)),
            waiting: None,
            session: Arc::clone(session),
            _ongoing: Ongoing::new(session),
            _room: room,
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = DownloadError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, DownloadError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Pending => {
                if this.waiting.is_none() {
                    this.waiting = Some(Waiting::new(&this.session));
                    this.alarm.as_mut().reset(Instant::now() + this.idle);
                }
                if this.alarm.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Some(Err(DownloadError::Silent(this.idle))));
                }
                Poll::Pending
            }
            Poll::Ready(frame) => {
                this.waiting = None;
                match frame {
                    Some(Ok(frame)) if frame.is_data() => Poll::Ready(Some(Ok(frame))),
                    Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
                    // Trailers are not passed on: the end.
                    Some(Ok(_)) | None => {
                        this.ended = true;
                        Poll::Ready(None)
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // Whoever stops early closes the back end's connection: the rest is of no use to anybody.
        if self.is_end_stream()
            && let Some((link, backend)) = self.link.take()
        {
            backend.give_back(link);
        }
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Download(…)")
    }
}
