//! Pure decisions about a domain's certificate, from its SSL state, the time and the CA's limits.
//! Nothing in here does I/O or waits, so that `linkseal simulate` decides by the same code.
//!
//! | file | decides |
//! |---|---|
//! | `due` | what the scheduler does with a domain that it takes up, and how urgent it is |
//! | `renewal_info` | what the CA's renewal information (RFC 9773) changes |
//! | `limits` | whether a CA's rate limits admit an order |
//! | `failure` | what a failed order means for its domain and for the CA |
//! | `outage` | when a CA that keeps failing is out of use |
//! | `backoff` | the wait after a failure |
//! | `waiting` | which waits may be ended before their time |

mod backoff;
mod due;
mod failure;
mod limits;
mod outage;
mod renewal_info;
#[cfg(test)]
mod tests;
mod waiting;

pub use due::{First, first, is_due, urgency};
pub(crate) use due::{IDLE_RECHECK, check_only, needs_order, was_well};
pub(crate) use failure::doubted;
pub use failure::{failed, holds_back_all};
pub use limits::{Gate, certificate_budgets, gate, replaces};
pub(crate) use limits::{account_budget, budgets, refill};
pub use outage::{Blame, TRIAL_RETRY, one_more};
pub use renewal_info::{asks_renewal_info, no_renewal_info, renewal_info};
pub(crate) use waiting::{waits_for_ca, waits_for_us};

pub use crate::core::ca::held_back;
pub(crate) use crate::core::ca::out_until;
