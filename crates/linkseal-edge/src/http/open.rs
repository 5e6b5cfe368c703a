//! The open pixel: the same for every token, so that it does not reveal which tokens are right. Kill
//! switches do not apply: a pixel does no harm, and its event shows who has seen the message.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use linkseal_event::Appending;
use linkseal_link::Kind;

use super::exchange::Exchange;
use super::reply::{self, Reply};
use super::{record, verify};

/// A transparent pixel: the shortest GIF89a that every mail program shows.
pub(super) const PIXEL: &[u8; 43] =
    b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

/// The pixel, and an event unless the link is too old. `None` if the token is not right.
pub(super) fn answer(x: &Exchange<'_>, tenant: Option<&str>, token: &str) -> Option<(Reply, Option<Appending>)> {
    verify::verified(x, Kind::Open, tenant, token, |token| {
        let event = (!verify::is_too_old(x, token)).then(|| record::link(x, token, None));
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
