//! Where a kill switch holds: a warning instead of a redirect ([`crate::link::KillSwitches`]).

use http::StatusCode;
use uuid::Uuid;

use super::pages::{killed, language};
use super::reply::{self, Reply};
use super::respond::Exchange;
use crate::link::{Destination, KillKind};

/// Which switch holds a link. `message`: `None` for a stored redirect.
pub(super) fn hit(
    x: &Exchange<'_>,
    tenant: &str,
    message: Option<Uuid>,
    destination: &Destination<'_>,
) -> Option<KillKind> {
    x.session.context.kills.hit(tenant, message, destination)
}

/// The warning: 410, as the link will not come back by itself. It leads nowhere, least of all to
/// where the link did.
pub(super) fn warning(x: &Exchange<'_>) -> Reply {
    reply::page(StatusCode::GONE, &killed(language(x.headers)))
}
