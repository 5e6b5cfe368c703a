//! HTTP on the edge (contract, section 4): from a connection to its replies.
//!
//! [`serve`] drives a connection; for each request `respond` checks the host, asks the router and
//! calls the room that answers: challenge, open, click, redirect, unsubscribe, well_known, or passes it
//! on to a back end (`upstream`). Answers come from memory; what may be waited for is the journal
//! (`record`), a stored redirect that is not in memory, an admission answer on port 80, a small
//! request body, an upstream for challenges, and back ends.

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
mod graceful;
mod host;
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
