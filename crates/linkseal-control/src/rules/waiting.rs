//! Which waits may be ended before their time.

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::FailureKind;

use super::needs_order;

/// Whether a domain waits for something to be fixed here. A time that the CA has set for it is kept.
pub(crate) fn waits_for_us(record: &DomainRecord, now: Timestamp) -> bool {
    let ssl = &record.ssl;
    waits_for_ca(record, None, now) && ssl.not_before.is_none() && ssl.facts.cause.is_none_or(FailureKind::is_ours)
}

/// Whether a domain waits for one of these CAs. A turn at a rate limit is kept, and a domain whose owner
/// has to fix something is not retried for the CA's sake.
pub(crate) fn waits_for_ca(record: &DomainRecord, hosts: Option<&[String]>, now: Timestamp) -> bool {
    let ssl = &record.ssl;
    let at_ca = hosts.is_none_or(|hosts| ssl.facts.ca.as_ref().is_some_and(|ca| hosts.contains(ca)));
    // A rate limit on the name is the CA's: the owner cannot fix it.
    let is_for_owner = |cause: FailureKind| cause.blames_domain() && cause != FailureKind::NameLimit;
    let blamed = ssl.facts.cause.is_some_and(is_for_owner);
    record.is_wanted()
        && at_ca
        && !blamed
        && !ssl.in_queue
        && ssl.next_attempt.is_some_and(|at| at > now)
        && needs_order(ssl, now)
}
