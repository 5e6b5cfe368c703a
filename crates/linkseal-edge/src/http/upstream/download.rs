//! A response's body on its way to the client, as fast as the client reads. The place at the back end is
//! given back as soon as the last byte is here.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::pipe::{DownloadError, Lost, Pace, Pipe};
use super::places::Place;
use super::pool::{Backend, Link};
use crate::http::activity::{Activity, BackendWait, StreamingBody};

/// The body of a response.
pub(in crate::http) struct Download {
    pipe: Option<Arc<Pipe>>,
    /// Bytes left, if the length is known.
    left: Option<u64>,
    /// Set while the reader waits for the back end.
    waiting: Option<BackendWait>,
    activity: Rc<Activity>,
    ongoing: Ongoing,
}

/// Marks the client's connection as busy. Shared with the task that fills the pipe, which ends it when it
/// drops the client.
type Ongoing = Rc<Cell<Option<StreamingBody>>>;

/// A body that comes from a back end, and what is held for it.
pub(in crate::http) struct Source {
    pub(in crate::http) body: Incoming,
    pub(in crate::http) backend: Arc<Backend>,
    /// The connection it comes on, if that is used again.
    pub(in crate::http) link: Option<Link>,
    pub(in crate::http) idle: Duration,
    pub(in crate::http) place: Place,
}

impl Download {
    pub(in crate::http) fn new(source: Source, activity: &Rc<Activity>) -> Self {
        let ended = source.body.is_end_stream();
        let left = source.body.size_hint().exact();
        let ongoing = Ongoing::default();
        let pipe = if ended {
            source.ended();
            None
        } else {
            ongoing.set(Some(StreamingBody::new(activity)));
            let (pipe, tasks) = (Arc::<Pipe>::default(), source.backend.tasks.clone());
            tasks.spawn_local_until_stop(run(source, Arc::clone(&pipe), Rc::clone(&ongoing)));
            Some(pipe)
        };
        Self {
            pipe,
            left,
            waiting: None,
            activity: Rc::clone(activity),
            ongoing,
        }
    }
}

/// Fills the pipe; drops the client if it is stuck.
async fn run(source: Source, pipe: Arc<Pipe>, ongoing: Ongoing) {
    if source.fill(&pipe).await == Err(Lost::Stuck) {
        ongoing.set(None);
        pipe.give_up();
    }
}

impl Source {
    /// Reads the body to its end, no further ahead of the client than the pipe allows.
    async fn fill(mut self, pipe: &Arc<Pipe>) -> Result<(), Lost> {
        let mut pace = Pace::new(self.idle);
        let yielding = self.backend.places.yields(self.place.client, Arc::<Pipe>::clone(pipe));
        let end = loop {
            // Dropping `self` closes the back end's connection: the rest is not needed.
            pipe.room(&mut pace).await?;
            let frame = tokio::select! {
                biased;
                () = pipe.gone() => return Err(Lost::Gone),
                frame = timeout(self.idle, self.body.frame()) => frame,
            };
            match frame {
                Err(_) => break Err(DownloadError::Silent(self.idle)),
                Ok(Some(Err(error))) => break Err(error.into()),
                // Trailers are not passed on.
                Ok(None) => break Ok(()),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => pipe.push(data),
                    Err(_) => break Ok(()),
                },
            }
            if self.body.is_end_stream() {
                break Ok(());
            }
        };
        let whole = end.is_ok();
        pipe.end(end);
        if !whole {
            return Ok(());
        }
        // A slow client does not hold the place at the back end: it is given back now.
        let client = self.place.client;
        let parked = if pipe.is_empty() {
            None
        } else {
            self.backend.parked.try_enter(client)
        };
        let held = match parked {
            Some(_) => {
                drop(yielding);
                self.ended();
                None
            }
            // Too many bodies wait for clients already: the place is held with this one.
            None => Some((self, yielding)),
        };
        let emptied = pipe.emptied(&mut pace).await;
        if let Some((source, _yielding)) = held {
            source.ended();
        }
        drop(parked);
        emptied
    }

    /// The body was read to its end: frees connection and place.
    fn ended(self) {
        if let Some(link) = self.link {
            self.backend.give_back(link);
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = DownloadError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, DownloadError>>> {
        let this = self.get_mut();
        let Some(pipe) = &this.pipe else {
            return Poll::Ready(None);
        };
        match pipe.poll(cx) {
            Poll::Pending => {
                if this.waiting.is_none() {
                    this.waiting = Some(BackendWait::new(&this.activity));
                }
                Poll::Pending
            }
            Poll::Ready(piece) => {
                this.waiting = None;
                if let (Some(left), Some(Ok(piece))) = (&mut this.left, &piece) {
                    *left = left.saturating_sub(piece.len() as u64);
                }
                Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pipe.as_ref().is_none_or(|pipe| pipe.is_at_end())
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if let Some(pipe) = &self.pipe {
            self.ongoing.set(None);
            pipe.leave();
        }
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Download(…)")
    }
}
