//! What every store must do. The same tests run on each implementation: `conformance_suite!(fresh)` makes
//! them, where `fresh` is an async function that returns a [`Fresh`] store.

use std::any::Any;

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::Reason;
use linkseal_domain::{DomainName, DomainRecord};
use uuid::Uuid;

use super::{
    AuditEntry, Changed, Feed, FeedPosition, Fence, Lease, LeaseKey, Owner, SharedStore, StoreError, Transition,
};
pub(crate) use crate::testing::{MINUTE, NOW, add, creation, line, name, record};

pub(crate) mod budgets;
pub(crate) mod cas;
pub(crate) mod claims;
pub(crate) mod domains;
pub(crate) mod feed;
pub(crate) mod history;
pub(crate) mod issuing;
pub(crate) mod links;
pub(crate) mod listing;
pub(crate) mod nodes;
pub(crate) mod outbox;
pub(crate) mod work;

/// An empty store, whose clock stands at [`NOW`].
pub(crate) struct Fresh {
    pub(crate) store: SharedStore,
    pub(crate) clock: Box<dyn TestClock>,
    /// What must live as long as the store: a directory, a database server.
    pub(crate) _kept: Box<dyn Any + Send>,
}

/// The clock of a store, which stands still unless it is set.
#[async_trait]
pub(crate) trait TestClock: Send + Sync {
    async fn set(&self, at: Timestamp);
}

/// Makes a test of every function of the suite.
macro_rules! conformance_suite {
    ($fresh:path) => {
        $crate::conformance::conformance_suite! { $fresh;
            domains: a_domain_is_created_once,
            domains: a_transition_stores_everything_together,
            domains: a_transition_from_an_old_version_conflicts,
            domains: a_refused_transition_changes_nothing,
            domains: several_domains_are_read_at_once,
            domains: of_concurrent_transitions_one_wins,
            domains: a_purge_leaves_only_the_audit_log,
            domains: a_domain_that_is_added_again_is_a_new_one,
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
            work: only_leases_that_hold_are_renewed,
            work: the_leases_of_one_owner_are_released_together,
            claims: due_domains_are_claimed_in_order,
            claims: a_claim_lasts_as_long_as_its_lease,
            claims: a_domain_that_changes_under_its_lease_is_due_for_no_other,
            claims: claimers_that_ask_for_more_than_there_is_share_it,
            claims: the_next_due_time_is_that_of_a_domain_that_is_not_due_yet,
            nodes: one_process_is_the_node_until_it_leaves,
            nodes: a_process_that_is_known_to_have_ended_is_not_waited_for,
            nodes: a_node_that_is_gone_is_replaced,
            nodes: nodes_that_are_alive_are_listed,
            feed: changes_of_every_kind_are_in_the_feed,
            feed: the_changes_of_a_name_are_in_order,
            feed: pages_of_the_feed_miss_and_repeat_nothing,
            feed: a_position_that_is_not_in_the_feed_is_broken,
            feed: changes_made_at_once_are_all_seen,
            cas: accounts_are_kept_per_directory,
            cas: troubles_are_kept_per_ca_until_they_end,
            cas: the_last_hold_back_counts,
            cas: of_concurrent_changes_one_wins,
            cas: a_freeze_lasts_until_it_is_ended,
            budgets: a_bucket_refills_continuously,
            budgets: slots_are_given_out_in_order_and_can_be_returned,
            budgets: budgets_are_taken_all_or_none,
            budgets: tokens_are_returned_up_to_the_size,
            budgets: a_clock_that_is_set_back_breaks_no_bucket,
            budgets: budgets_of_any_size_answer,
            budgets: concurrent_takes_get_no_more_than_there_is,
            budgets: callers_that_name_buckets_in_any_order_get_no_more_than_there_is,
            issuing: renewals_are_counted_by_day,
            history: a_timeline_keeps_the_newest,
            history: the_audit_log_pages_backwards,
            history: the_first_secret_stays,
            history: one_node_adds_the_next_ticket_key,
            history: ticket_keys_rotate_by_the_clock_of_the_store,
            history: a_probe_succeeds,
            outbox: events_wait_in_order_until_they_are_acknowledged,
            outbox: a_refused_transition_adds_no_event,
            outbox: a_purge_deletes_waiting_events,
            links: a_redirect_is_of_one_domain_or_of_all,
            links: a_redirect_that_was_changed_is_not_overwritten,
            links: a_kill_that_was_changed_is_not_overwritten,
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
            $crate::conformance::$group::$test(&fresh).await;
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

/// A process, by number.
pub(crate) fn owner(n: u128) -> Owner {
    Owner::of(Uuid::from_u128(n))
}

/// The lease on a domain for a minute.
pub(crate) async fn lease(store: &SharedStore, domain: &DomainName, owner: Owner) -> Option<Fence> {
    let key = LeaseKey::Domain(domain.clone());
    store.acquire_lease(&key, owner, MINUTE).await.unwrap()
}

/// The lease on a domain as its holder knows it.
pub(crate) fn held(domain: &DomainName, fence: Fence) -> Lease {
    Lease {
        key: LeaseKey::Domain(domain.clone()),
        fence,
    }
}

/// All changes after a position, and where they end.
pub(crate) async fn changes(store: &SharedStore, after: &FeedPosition) -> (Vec<Changed>, FeedPosition) {
    let (mut all, mut at) = (Vec::new(), after.clone());
    loop {
        match store.changes_after(&at, 100).await.unwrap() {
            Feed::Changes {
                changes,
                position,
                more,
            } => {
                all.extend(changes);
                at = position;
                if !more {
                    return (all, at);
                }
            }
            Feed::Broken => panic!("{at} is not in the feed"),
        }
    }
}

/// A change of a domain's record alone.
pub(crate) fn changed(domain: &DomainName) -> Changed {
    Changed::Domain {
        name: domain.clone(),
        certificate: false,
    }
}

#[track_caller]
pub(crate) fn assert_conflict<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(matches!(outcome, Err(StoreError::Conflict)), "{outcome:?}");
}
