//! linkseal: the thing a customer's tracking CNAME points at.

pub mod address;
pub mod admin;
pub mod app;
pub mod cert;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
#[cfg(feature = "devca")]
pub mod devca;
pub mod dns;
pub mod domain;
pub mod edge;
pub mod event;
pub mod fault;
pub mod issuer;
pub mod link;
pub mod random;
pub mod shutdown;
pub mod store;
pub mod telemetry;
