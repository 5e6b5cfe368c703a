//! One file per section of the configuration: keys, defaults, checks.

pub mod acme;
pub mod admin;
pub mod admission;
pub mod dns;
pub mod edge;
pub mod events;
pub mod links;
pub mod listen;
pub mod log;
pub mod pages;
pub mod store;
pub mod upstream;
