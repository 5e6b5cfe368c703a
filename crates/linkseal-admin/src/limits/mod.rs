//! What keeps one caller from taking what all share: the number of open streams ([`streams`]), of
//! expensive requests at a time ([`turns`]), the rate of wrong tokens ([`throttle`]), and how often
//! the store and the metrics are asked for unauthenticated callers ([`store_health`], [`scrape`]).

pub(crate) mod rate;
pub(crate) mod scrape;
pub(crate) mod store_health;
pub(crate) mod streams;
pub(crate) mod throttle;
pub(crate) mod turns;
