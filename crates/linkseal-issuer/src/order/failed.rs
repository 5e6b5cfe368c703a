//! How an attempt fails: why, whether its order can be resumed, and what it used up of the CA's limits.

use linkseal_domain::ssl::{Failure, FailureKind};

use super::Driver;
use crate::client::{Authorization, Order};
use crate::failure::{Stage, own_failure, problem_failure};
use crate::job::{IssueError, Spent};
use crate::problem::{CallError, Problem};

impl Driver<'_> {
    /// Why an order became invalid: the error of its challenge, else the error of the order.
    pub(super) async fn why_invalid(&self, order: &Order) -> Failure {
        for url in &order.authorizations {
            match self.with_retries(|| self.client.authorization(url)).await {
                Ok(a) if a.value.challenges.iter().any(|c| c.error.is_some()) => return self.why_unauthorized(a.value),
                _ => {}
            }
        }
        self.problem_or(
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
        self.problem_or(
            error,
            Stage::Validation,
            "the CA made the authorization invalid and gives no reason",
        )
    }

    fn problem_or(&self, problem: Option<Problem>, stage: Stage, silence: &str) -> Failure {
        let now = self.clock.now();
        match problem {
            Some(problem) => problem_failure(problem, stage, Some(&self.job.name), now),
            None => own_failure(FailureKind::Refused, silence, now),
        }
    }

    /// The CA took too long; the order can be resumed.
    pub(super) fn stuck(&self) -> IssueError {
        let detail = "the CA accepted the order and did not complete it in time";
        IssueError::Failed {
            failure: own_failure(FailureKind::Stuck, detail, self.clock.now()),
            resumable: true,
            spent: Spent::Order,
        }
    }

    /// A call that failed while there is an order. A temporary failure, or one that is ours to fix,
    /// leaves the order as it was; only a refusal ends it.
    pub(super) fn failed(&self, error: CallError) -> IssueError {
        let failure = error.into_failure(Some(&self.job.name), self.clock.now());
        use FailureKind::{AccountLimit, NameLimit, Unreachable};
        let temporary = matches!(failure.kind, Unreachable | AccountLimit | NameLimit);
        let resumable = temporary || failure.kind.is_ours();
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
