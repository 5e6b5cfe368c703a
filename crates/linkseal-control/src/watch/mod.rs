//! Background watches, each a task of its own that runs until shutdown.
//!
//! | file | watches |
//! |---|---|
//! | `loader` | the start: fills the data plane's registry |
//! | [`clock`] | the system's clock |
//! | [`store`] | whether the store can be written |
//! | [`probe`] | the certificates that issued domains present on the Internet |
//! | [`target_caa`] | CAA records at the edge's own names |
//! | [`tickets`] | TLS session ticket keys |

pub(crate) mod clock;
pub(crate) mod loader;
pub(crate) mod probe;
pub(crate) mod store;
pub(crate) mod target_caa;
pub(crate) mod tickets;
