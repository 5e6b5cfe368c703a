//! What every store must do. The same tests run on each implementation: `conformance_suite!(fresh)` makes
//! them, where `fresh` is an async function that returns a [`Fresh`] store.

use std::any::Any;

use super::{AuditEntry, Fence, SharedStore, Transition, domain_lease};
pub(crate) use crate::testing::{MINUTE, NOW, add, creation, line, name, record};
use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::Reason;
use linkseal_domain::{DomainName, DomainRecord};

pub(crate) mod budgets;
pub(crate) mod domains;
pub(crate) mod history;
pub(crate) mod issuing;
pub(crate) mod links;
pub(crate) mod listing;
pub(crate) mod outbox;
pub(crate) mod work;

/// An empty store.
pub(crate) struct Fresh {
    pub(crate) store: SharedStore,
    /// What must live as long as the store: a directory, a database server.
    pub(crate) _kept: Box<dyn Any + Send>,
}

/// Makes a test of every function of the suite.
macro_rules! conformance_suite {
    ($fresh:path) => {
        $crate::conformance::conformance_suite! { $fresh;
            domains: a_domain_is_created_once,
            domains: a_transition_stores_everything_together,
            domains: a_transition_from_an_old_version_conflicts,
            domains: a_refused_transition_changes_nothing,
            domains: of_concurrent_transitions_one_wins,
            domains: a_purge_leaves_only_the_audit_log,
            domains: a_domain_that_is_added_again_is_a_new_one,
            domains: due_domains_come_in_order,
            listing: pages_follow_the_names,
            listing: all_domains_are_read_as_they_are_stored,
            listing: filters_combine,
            listing: a_prefix_matches_its_names_only,
            listing: counts_follow_every_change,
            work: a_lease_has_one_holder,
            work: an_old_fence_is_refused,
            work: a_fence_holds_after_its_lease_expired_until_the_next_grant,
            work: orders_are_written_under_a_fence,
            work: of_many_owners_one_gets_the_lease,
            budgets: a_bucket_refills_continuously,
            budgets: slots_are_given_out_in_order_and_can_be_returned,
            budgets: budgets_are_taken_all_or_none,
            budgets: tokens_are_returned_up_to_the_size,
            budgets: a_clock_that_is_set_back_breaks_no_bucket,
            budgets: budgets_of_any_size_answer,
            budgets: concurrent_takes_get_no_more_than_there_is,
            budgets: the_last_hold_back_counts,
            issuing: troubles_are_kept_per_ca_until_they_end,
            issuing: a_freeze_lasts_until_it_is_ended,
            issuing: renewals_are_counted_by_day,
            history: a_timeline_keeps_the_newest,
            history: the_audit_log_pages_backwards,
            history: changes_come_in_sequence,
            history: the_first_secret_stays,
            history: accounts_are_kept_per_directory,
            history: one_node_adds_the_next_ticket_key,
            history: a_probe_succeeds,
            outbox: events_wait_in_order_until_they_are_acknowledged,
            outbox: a_refused_transition_adds_no_event,
            outbox: a_purge_deletes_waiting_events,
            links: a_redirect_is_of_one_domain_or_of_all,
            links: redirects_page_by_domain_and_slug,
            links: redirects_are_purged_with_their_domain,
            links: kills_are_kept_until_deleted,
            links: kills_are_bounded,
        }
    };
    ($fresh:path; $($group:ident: $test:ident,)*) => {
        $(#[tokio::test]
        async fn $test() {
            let fresh = $fresh().await;
            $crate::conformance::$group::$test(fresh.store).await;
        })*
    };
}
pub(crate) use conformance_suite;

/// A plain change to a reason.
pub(crate) fn to(record: &DomainRecord, reason: Reason) -> Transition {
    let mut record = record.clone();
    record.ssl.reason = reason;
    Transition::of(record)
}

pub(crate) fn audit(action: &str, subject: &str) -> AuditEntry {
    AuditEntry {
        id: 0,
        at: NOW,
        who: "ops".into(),
        from: "192.0.2.7".into(),
        action: action.into(),
        subject: subject.into(),
        before: serde_json::Value::Null,
        after: serde_json::json!({ "tenant": "acme" }),
    }
}

/// The lease on a domain for a minute.
pub(crate) async fn lease(store: &SharedStore, domain: &DomainName, owner: &str, now: Timestamp) -> Option<Fence> {
    store
        .acquire_lease(&domain_lease(domain), owner, MINUTE, now)
        .await
        .unwrap()
}
