//! The open pixel: the same for every token, so that no one learns which are right. Kill switches
//! do not concern it: a pixel harms no one, and its event tells who has seen the message.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use linkseal_event::Appending;
use linkseal_link::Kind;

use super::record;
use super::reply::{self, Reply};
use super::respond::Exchange;

/// A transparent pixel: the shortest GIF89a that every mail program shows.
pub(super) const PIXEL: &[u8; 43] =
    b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

/// The pixel and an event; what is too old is none. `None`: the token is not right.
pub(super) fn answer(x: &Exchange<'_>, tenant: Option<&str>, token: &str) -> Option<(Reply, Option<Appending>)> {
    x.verified(Kind::Open, tenant, token, |token| {
        let event = (!x.is_too_old(token)).then(|| record::link(x, token, None));
        Some((pixel(), event))
    })
}

/// The pixel, whatever the token.
pub(super) fn pixel() -> Reply {
    reply::content(
        StatusCode::OK,
        HeaderValue::from_static("image/gif"),
        Bytes::from_static(PIXEL),
    )
}
