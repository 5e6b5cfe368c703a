//! Several nodes on one PostgreSQL, behind HAProxy. One file per behaviour.

mod changes;
mod example;
mod issuance;
mod members;
mod resumption;
mod rolling_restart;
mod takeover;
