//! Records what came of an order that failed, or that has to wait.

use linkseal_base::random;
use linkseal_domain::ssl::{Failure, Slot, SslEvent};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::{Fence, StoreError};

use super::Orders;
use super::choose::{Cause, Chosen, Wait};
use crate::core::{Draft, Edit};
use crate::rules;

impl Orders {
    /// Records a failed order. A `resumable` one is resumed later instead of made again.
    pub(super) async fn note_failed(
        &self,
        chosen: &Chosen,
        record: &DomainRecord,
        fence: Fence,
        failure: Failure,
        resumable: bool,
    ) -> Result<(), StoreError> {
        let name = &record.name;
        let ca = chosen.ca.directory();
        if failure.kind.blames_domain() {
            tracing::info!(domain = %name, ca, kind = failure.kind.as_str(), error = %failure.error.detail, "order failed");
        } else if !self
            .health
            .warn(&chosen.ca, &failure, "orders at the CA fail; will retry")
        {
            tracing::debug!(domain = %name, ca, kind = failure.kind.as_str(), error = %failure.error.detail, "order failed");
        }
        if let Some(until) = rules::holds_back_all(&failure, self.core.clock.now()) {
            self.health.throttle(&chosen.ca, &failure, until).await?;
        }
        let refused = failure.kind.is_refusal_of_name();
        let mass_failure = &self.schedule.checks.mass_failure;
        let suppressed = mass_failure.suppresses_failure(record, &failure);
        let changed = self
            .core
            .transition(name, fence, |draft| {
                if refused {
                    draft.apply(SslEvent::RefusedBy { ca: ca.to_owned() });
                }
                let detail = Some(failure.error.detail.clone());
                if suppressed {
                    let until = mass_failure.retry_order_at(&draft.record);
                    draft.apply(rules::doubted(&failure, until));
                    draft.log("doubted", detail);
                } else {
                    draft.apply(rules::failed(&draft.record.ssl, failure.clone(), random::unit()));
                    draft.log("failed", detail);
                }
                if !resumable {
                    draft.end_order();
                }
                Edit::Store
            })
            .await?;
        // The wait concerns this CA only.
        if let Some(record) = changed
            && record.ssl.next_attempt.is_some()
            && self.may_go_elsewhere(chosen, &record).await?
        {
            self.core
                .transition(name, fence, |draft| {
                    draft.apply(SslEvent::OtherCa);
                    Edit::Store
                })
                .await?;
        }
        Ok(())
    }

    /// Records that the order has to wait.
    pub(super) async fn note_wait(&self, name: &DomainName, fence: Fence, wait: Wait) -> Result<(), StoreError> {
        let Wait { until, ca, cause, turn } = wait.clone();
        let in_queue = turn.is_some();
        let turn = turn.map(|take| Slot {
            queue: take.key,
            at: until,
        });
        let changed = self.core.transition(name, fence, |draft| {
            let ca = ca.clone();
            draft.apply(match cause {
                Cause::Name | Cause::Account => SslEvent::HeldBack { until, ca, in_queue },
                Cause::Outage => SslEvent::CaUnavailable { until, ca },
                Cause::Ours(kind) => SslEvent::OursToFix { until, ca, kind },
            });
            if let Some(turn) = turn.clone() {
                draft.apply(SslEvent::SlotReserved(turn));
            }
            draft.log("held_back", Some(format!("until {until}")));
            Edit::Store
        });
        let changed = changed.await;
        if !matches!(&changed, Ok(Some(record)) if record.ssl.slot.is_some()) {
            // Set aside or purged meanwhile: the turn is not going to be used.
            self.return_turn(Some(wait)).await?;
        }
        changed.map(drop)
    }

    /// Retries a domain at once that has just been recorded as waiting for something to be fixed here, if
    /// standstills were ended since its order began: that release did not find it waiting yet.
    pub(super) async fn retry_if_ended(&self, name: &DomainName, fence: Fence, since: u64) -> Result<(), StoreError> {
        if self.health.endings() == since {
            return Ok(());
        }
        let retry = |draft: &mut Draft| {
            if !rules::waits_for_us(&draft.record, draft.now()) {
                return Edit::Nothing;
            }
            draft.apply(SslEvent::Released);
            Edit::Store
        };
        self.core.transition(name, fence, retry).await.map(drop)
    }
}
