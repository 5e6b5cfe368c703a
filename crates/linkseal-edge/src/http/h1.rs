//! An HTTP/1.1 connection. While it is idle it keeps no buffers: hyper's connection is taken apart, and
//! a new one is made over the same stream when bytes come.

use std::pin::Pin;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::activity::TrackedIo;
use super::lifetime::{Closable, Driven, Lifetime, Waited};
use super::reply::Body;
use super::server::MAX_HEAD;
use super::service::answer;
use super::session::Session;
use super::target::Encoded;
use crate::waitable::Waitable;

impl<I, S> Closable for http1::Connection<I, S>
where
    Self: Future<Output = hyper::Result<()>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: hyper::service::HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::ResBody: http_body::Body + 'static,
    <S::ResBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// What hyper reads from and writes to.
type Io<IO> = Encoded<TrackedIo<IO>>;

/// Serves a connection until it ends.
pub(super) async fn serve<IO: Waitable>(io: IO, session: &Rc<Session>, drain: CancellationToken) -> hyper::Result<()> {
    let mut lifetime = Lifetime::new(session, drain);
    let mut io = tracked(io, session);
    loop {
        // Boxed, as is what drives it, so that nothing of it is left while the connection waits.
        let mut connection = connect(io, session);
        let driving = Box::pin(lifetime.drive(Pin::new(&mut *connection)));
        let driven = if session.is_brief() {
            // It is cut when its time is over, whatever moves on it.
            let driven = Box::pin(timeout(session.context.brief, driving)).await;
            driven.unwrap_or(Driven::Ended(Ok(())))
        } else {
            driving.await
        };
        match driven {
            Driven::Ended(result) => return result,
            Driven::AtRest => io = connection.take_apart(),
        }
        if io.has_pending() {
            // The beginning of a request that came behind another: its time begins, and it does not rest.
            session.activity.bytes_came();
        } else {
            match lifetime.wait(&io.get_ref().io).await {
                Waited::Wanted => {}
                Waited::Stuck => return Ok(()),
                Waited::Idle => {
                    // The client may be gone; that is no error here.
                    let _ = Box::pin(timeout(session.context.timeouts.farewell, io.shutdown())).await;
                    return Ok(());
                }
            }
        }
    }
}

fn tracked<IO>(io: IO, session: &Session) -> Io<IO> {
    Encoded::new(TrackedIo {
        io,
        activity: Rc::clone(&session.activity),
    })
}

fn connect<IO: Waitable>(io: Io<IO>, session: &Rc<Session>) -> Box<impl Connection<IO> + use<IO>> {
    // Under the stand-in, a connection ends with its request: the next one is to get the real certificate.
    let stand_in = session.connection.tls.as_ref().is_some_and(|tls| tls.challenges_only);
    let session = Rc::clone(session);
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(MAX_HEAD)
        .keep_alive(!stand_in && !session.is_brief());
    let service = service_fn(move |request| answer(&session, request));
    Box::new(builder.serve_connection(TokioIo::new(io), service))
}

/// A connection of hyper, whatever its service.
trait Connection<IO>: Closable + Unpin {
    /// The stream, to be read again from where hyper stopped.
    fn take_apart(self: Box<Self>) -> Io<IO>;
}

impl<IO, S> Connection<IO> for http1::Connection<TokioIo<Io<IO>>, S>
where
    Self: Closable + Unpin,
    IO: Waitable,
    S: hyper::service::HttpService<Incoming, ResBody = Body>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn take_apart(self: Box<Self>) -> Io<IO> {
        let parts = (*self).into_parts();
        let mut io = parts.io.into_inner();
        if !parts.read_buf.is_empty() {
            io.put_back(&parts.read_buf);
        }
        // Here the read buffer is freed: even empty it holds on to the block that it was cut from.
        io
    }
}
