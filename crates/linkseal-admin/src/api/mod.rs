//! The JSON API, a file for each thing it is about.

mod audit;
pub(super) mod checks;
mod description;
pub(super) mod domains;
mod erase;
mod events;
mod export;
pub(super) mod import;
pub(super) mod issuer;
mod kills;
mod links;
mod readiness;
mod redirects;
mod rejected;
pub(super) mod share;
mod sinks;
mod suspicion;

pub(super) use domains::not_registered;
pub(super) use events::EVENT_STREAMS;
pub(super) use export::TRANSFERS;

use super::endpoint::Endpoint;
use super::{health, metrics};

/// Everything the admin port answers.
pub(super) fn endpoints() -> Vec<Endpoint> {
    [
        health::endpoints(),
        metrics::endpoints(),
        domains::endpoints(),
        checks::endpoints(),
        readiness::endpoints(),
        share::endpoints(),
        import::endpoints(),
        export::endpoints(),
        audit::endpoints(),
        issuer::endpoints(),
        suspicion::endpoints(),
        links::endpoints(),
        events::endpoints(),
        erase::endpoints(),
        sinks::endpoints(),
        redirects::endpoints(),
        rejected::endpoints(),
        kills::endpoints(),
        description::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
