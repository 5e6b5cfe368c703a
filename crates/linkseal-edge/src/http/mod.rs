//! HTTP on the edge (docs/specification.md §4): from a connection to its replies.
//!
//! `server` serves a connection as `h1` or `h2`; `lifetime` drives it (`timeouts`, `activity`); `service` runs
//! one request. `respond` reads the head once (`exchange`: the route is decided there), checks the host (`gate`) and calls the
//! module that answers: `challenge`, `open`, `click`, `redirect`, `unsubscribe`, `well_known`, or `forward`
//! for a back end ([`upstream`]). Links are checked by `verify`, their events written by `record`, links
//! that lead nowhere answered by `fallback`.
//!
//! Answers come from memory. A request waits only for the journal, a stored redirect that is not in
//! memory, admission on port 80, a small request body, the challenge upstream, or a back end.

mod activity;
mod challenge;
mod challenge_upstream;
mod click;
mod context;
mod exchange;
mod fallback;
mod forward;
mod forwarded;
mod gate;
mod h1;
mod h2;
mod host;
mod lifetime;
mod metrics;
mod one_click;
mod open;
mod pages;
mod record;
mod redirect;
mod reply;
mod respond;
pub mod router;
mod server;
mod service;
mod session;
mod target;
mod timeouts;
mod unsubscribe;
pub mod upstream;
mod verify;
mod well_known;

#[cfg(test)]
mod tests;

pub use challenge_upstream::MAX_CONCURRENT as MAX_FORWARDED_CHALLENGES;
pub use challenge_upstream::{ChallengeUpstream, UpstreamError};
pub use context::{BRIEF, Context, Settings};
pub use metrics::Metrics;
pub use timeouts::Timeouts;
