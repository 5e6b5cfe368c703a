//! The JSON API, a file for each thing it is about.

mod audit;
mod checks;
mod description;
mod domains;
mod erase;
mod events;
mod export;
mod import;
mod issuer;
mod kills;
mod links;
mod redirects;

pub(super) use domains::not_registered;
pub(super) use events::MAX_STREAMS;

use super::endpoint::Endpoint;
use super::{health, metrics};

/// Everything the admin port answers.
pub(super) fn endpoints() -> Vec<Endpoint> {
    [
        health::endpoints(),
        metrics::endpoints(),
        domains::endpoints(),
        checks::endpoints(),
        import::endpoints(),
        export::endpoints(),
        audit::endpoints(),
        issuer::endpoints(),
        links::endpoints(),
        events::endpoints(),
        erase::endpoints(),
        redirects::endpoints(),
        kills::endpoints(),
        description::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
