//! The JSON API, one file per resource.

mod audit;
mod checks;
mod description;
mod domains;
mod erase;
mod events;
mod export;
pub(super) mod health;
mod https_ready;
mod import;
mod issuer;
mod kills;
mod links;
mod mass_failure;
mod metrics;
mod redirects;
mod rejected;
mod share;
mod sinks;

pub(super) use events::EVENT_STREAMS;
pub(super) use export::TRANSFERS;

use crate::endpoint::Endpoint;

/// All endpoints of the admin port.
pub(super) fn endpoints() -> Vec<Endpoint> {
    [
        health::endpoints(),
        metrics::endpoints(),
        domains::endpoints(),
        checks::endpoints(),
        https_ready::endpoints(),
        share::endpoints(),
        import::endpoints(),
        export::endpoints(),
        audit::endpoints(),
        issuer::endpoints(),
        mass_failure::endpoints(),
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
