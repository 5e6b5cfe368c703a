//! One connection, from its first request to its close.

use std::rc::Rc;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::context::Context;
use super::session::Session;
use super::{h1, h2};
use crate::Connection;
use crate::connection::ServeHttp;
use crate::waitable::Waitable;

/// Most bytes of a request's head: the longest token (5.5 KiB) twice, as the page it leads to may be
/// its referrer, with room for cookies of a back end and what mail proxies add.
pub(super) const MAX_HEAD: usize = 16 * 1024;

impl ServeHttp for Arc<Context> {
    fn serve<IO: Waitable>(
        &self,
        io: IO,
        connection: Connection,
        drain: CancellationToken,
    ) -> impl Future<Output = ()> + use<IO> + 'static {
        serve(io, connection, self, drain)
    }
}

/// Serves a connection until it ends. When `drain` is cancelled it ends gracefully: after the requests
/// at hand, and one that is in flight, telling the client to reconnect elsewhere. The future is small;
/// what hyper keeps for the connection is behind one allocation of its own size.
pub(super) fn serve<IO: Waitable>(
    io: IO,
    connection: Connection,
    context: &Arc<Context>,
    drain: CancellationToken,
) -> impl Future<Output = ()> + use<IO> + 'static {
    let is_h2 = connection.is_h2();
    let session = Rc::new(Session {
        context: Arc::clone(context),
        activity: Rc::new(Activity::new(Arc::clone(&connection.presence))),
        connection,
    });
    async move {
        let ended = if is_h2 {
            Box::pin(h2::serve(io, &session, drain)).await
        } else {
            h1::serve(io, &session, drain).await
        };
        if let Err(error) = ended {
            // Resets, bad requests, broken connections: the client's fault.
            tracing::debug!(client = %session.connection.client, %error, "connection ended");
        }
    }
}
