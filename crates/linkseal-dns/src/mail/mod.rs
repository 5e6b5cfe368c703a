//! The mail records of a sending domain: SPF, DKIM and DMARC. Reported only, never a gate for HTTPS.

pub(crate) mod dkim;
pub(crate) mod dmarc;
mod published;
pub(crate) mod spf;
