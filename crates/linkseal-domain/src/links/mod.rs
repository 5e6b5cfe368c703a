//! What the edge checks of links besides their signature: redirects stored under a slug
//! ([`RedirectCache`]) and kill switches ([`KillSwitches`]). The control plane fills both, the data
//! plane reads them.

mod kill;
mod redirects;

pub use kill::{Kill, KillError, KillSwitches, Kills};
pub use redirects::{Found, Lookup, LookupUnavailable, RedirectCache, SlugTargets, Target};
