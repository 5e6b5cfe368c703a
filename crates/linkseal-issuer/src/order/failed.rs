//! How an attempt ends without a certificate: why, whether its order lives on, and what it has used up.

use linkseal_domain::ssl::{Failure, FailureKind};

use super::Driver;
use crate::client::{Authorization, Order};
use crate::failure::{Stage, own_failure, problem_failure};
use crate::job::{IssueError, Spent};
use crate::problem::{CallError, Problem};

impl Driver<'_> {
    /// Why an order became invalid: what the CA found at the challenge, else what it says of the order.
    pub(super) async fn why_invalid(&self, order: &Order) -> Failure {
        for url in &order.authorizations {
            match self.with_retries(|| self.client.authorization(url)).await {
                Ok(a) if a.value.challenges.iter().any(|c| c.error.is_some()) => return self.why_unauthorized(a.value),
                _ => {}
            }
        }
        self.words_or(
            order.error.clone(),
            Stage::Request,
            "the CA made the order invalid and gives no reason",
        )
    }

    pub(super) fn why_unauthorized(&self, authorization: Authorization) -> Failure {
        let mut errors: Vec<_> = authorization
            .challenges
            .into_iter()
            .filter(|c| c.error.is_some())
            .collect();
        errors.sort_by_key(|c| c.kind != "http-01");
        let error = errors.into_iter().next().and_then(|c| c.error);
        self.words_or(
            error,
            Stage::Validation,
            "the CA made the authorization invalid and gives no reason",
        )
    }

    fn words_or(&self, problem: Option<Problem>, stage: Stage, silence: &str) -> Failure {
        let now = self.clock.now();
        match problem {
            Some(problem) => problem_failure(problem, stage, Some(&self.job.name), now),
            None => own_failure(FailureKind::Refused, silence, now),
        }
    }

    /// The CA took too long; the order lives on.
    pub(super) fn stuck(&self) -> IssueError {
        let detail = "the CA took the order on and did not finish it in time";
        IssueError::Failed {
            failure: own_failure(FailureKind::Stuck, detail, self.clock.now()),
            resumable: true,
            spent: Spent::Order,
        }
    }

    /// A failure of a call while there is an order: one that passes, and one that is ours to put
    /// right, leave the order as it was. Only a refusal ends it.
    pub(super) fn failed(&self, error: CallError) -> IssueError {
        let failure = error.into_failure(Some(&self.job.name), self.clock.now());
        use FailureKind::{AccountLimit, NameLimit, Unreachable};
        let passes = matches!(failure.kind, Unreachable | AccountLimit | NameLimit);
        let resumable = passes || failure.kind.is_ours();
        IssueError::Failed {
            failure,
            resumable,
            spent: Spent::Order,
        }
    }

    pub(super) fn failed_before_order(&self, error: CallError) -> IssueError {
        self.before_order(error.into_failure(Some(&self.job.name), self.clock.now()))
    }

    pub(super) fn before_order(&self, failure: Failure) -> IssueError {
        IssueError::Failed {
            failure,
            resumable: false,
            spent: Spent::Nothing,
        }
    }

    pub(super) fn ended(&self, failure: Failure) -> IssueError {
        IssueError::Failed {
            failure,
            resumable: false,
            spent: Spent::Order,
        }
    }
}
