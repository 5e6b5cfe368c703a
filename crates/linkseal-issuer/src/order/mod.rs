//! Drives one order for one name from its current step to the certificate.
//!
//! What cannot be repeated is stored before it is done, so that a crash loses no order: the key before
//! newOrder is sent, the order's URL as soon as it is known, the step before the CSR is sent. Only a crash
//! between the CA's answer to newOrder and storing it costs an order.

mod certificate;
mod failed;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use linkseal_base::clock::Clock;
use linkseal_domain::cert::certificate::{Certificate, Leaf};
use linkseal_domain::cert::sealed::Sealer;
use linkseal_domain::ssl::FailureKind;
use linkseal_store::{OrderRecord, OrderStep, Store, StoreError};
use tracing::{debug, warn};
use zeroize::Zeroizing;

use super::client::{
    AcmeClient, Authorization, AuthorizationStatus, ChallengeStatus, Fetched, NewOrder, Order, OrderStatus,
};
use super::csr;
use super::failure::own_failure;
use super::job::{IssueError, Job, Progress};
use super::poll::{self, POLL_FIRST, PollError};
use super::problem::CallError;

/// How long a CA may take to validate: it connects from several places, some of them slow.
const VALIDATION_TIME: Duration = Duration::from_secs(90);
/// Longest time of one attempt, however slowly the CA answers: less than
/// [`linkseal_domain::ssl::ORDER_ENDS_WITHIN`].
pub(super) const ORDER_TIME: Duration = Duration::from_secs(270);
/// An older order is not resumed: its authorizations may have expired.
const RESUME_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// Drives one order: what it needs, and the steps.
pub(super) struct Driver<'a> {
    pub(super) client: &'a dyn AcmeClient,
    pub(super) store: &'a dyn Store,
    pub(super) sealer: &'a Sealer,
    pub(super) clock: &'a Clock,
    /// The directory URL of the CA.
    pub(super) ca: &'a str,
    pub(super) profile: Option<&'a str>,
    pub(super) job: &'a Job,
    /// Whether the last certificate looked expired by our clock.
    pub(super) looked_expired: &'a AtomicBool,
    pub(super) progress: &'a (dyn Fn(Progress) + Send + Sync),
}

/// A certificate, checked against its key and name.
pub(super) struct Obtained {
    pub(super) chain_pem: String,
    /// PKCS#8.
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) certificate: Certificate,
    pub(super) leaf: Leaf,
}

impl Driver<'_> {
    /// Resumes the name's order or places one, and completes it within [`ORDER_TIME`].
    pub(super) async fn run(&self) -> Result<Obtained, IssueError> {
        let earlier = self.store.order(&self.job.name).await?.filter(|r| r.ca == self.ca);
        let second_time = earlier.as_ref().is_some_and(|r| r.url.is_some());
        let result = tokio::select! {
            biased;
            result = self.work(earlier) => result,
            () = self.clock.sleep(ORDER_TIME) => Err(self.stuck()),
        };
        match result {
            // An order that got stuck twice will get stuck again; a new one may not.
            Err(IssueError::Failed { failure, .. }) if second_time && failure.kind == FailureKind::Stuck => {
                Err(self.ended(failure))
            }
            other => other,
        }
    }

    async fn work(&self, earlier: Option<OrderRecord>) -> Result<Obtained, IssueError> {
        let resumed = match earlier {
            Some(record) => self.resume(record).await?,
            None => None,
        };
        let (record, url, order) = match resumed {
            Some(resumed) => resumed,
            None if self.job.resumes => return Err(IssueError::Gone),
            None => self.begin().await?,
        };
        (self.progress)(Progress::Ordered);
        self.complete(record, &url, order).await
    }

    /// The order of an earlier attempt; `None` if it is no longer usable.
    async fn resume(&self, record: OrderRecord) -> Result<Option<(OrderRecord, String, Order)>, IssueError> {
        let Some(url) = record.url.clone() else { return Ok(None) };
        if self.clock.now() >= record.created + RESUME_WITHIN {
            return Ok(None);
        }
        match self.with_retries(|| self.client.order(&url)).await {
            // It failed in the meantime: the CA has counted that, and says why.
            Ok(order) if order.value.status == OrderStatus::Invalid => {
                Err(self.ended(self.why_invalid(&order.value).await))
            }
            Ok(order) => {
                debug!(name = %self.job.name, url, status = ?order.value.status, "order resumed");
                Ok(Some((record, url, order.value)))
            }
            Err(e) if e.is_gone() => Ok(None),
            Err(e) => Err(self.failed(e)),
        }
    }

    /// Places a new order.
    async fn begin(&self) -> Result<(OrderRecord, String, Order), IssueError> {
        let directory = self.client.directory().await.map_err(|e| self.failed_before_order(e))?;
        if let Some(wanted) = self.profile.filter(|p| !directory.meta.profiles.contains_key(*p)) {
            let offered: Vec<_> = directory.meta.profiles.keys().map(String::as_str).collect();
            let offered = if offered.is_empty() {
                "none".into()
            } else {
                offered.join(", ")
            };
            let detail = format!("the CA has no profile `{wanted}`; it offers: {offered}. Change acme.profile");
            return Err(self.before_order(own_failure(FailureKind::Refused, &detail, self.clock.now())));
        }
        self.check_clock()?;
        let key = csr::generate_key().map_err(|e| self.failed_before_order(e))?;
        let mut record = OrderRecord {
            name: self.job.name.clone(),
            ca: self.ca.to_owned(),
            url: None,
            sealed_key: self.sealer.seal(&seal_context(self.job), &key),
            step: OrderStep::Creating,
            created: self.clock.now(),
        };
        self.save(&record).await?;
        // A CA without renewal information does not support `replaces` (RFC 9773 §5).
        let replaces = self
            .job
            .replaces
            .as_deref()
            .filter(|_| directory.renewal_info.is_some());
        let (url, order) = self.place(replaces).await?;
        debug!(name = %self.job.name, url, "order placed");
        record.url = Some(url.clone());
        record.step = OrderStep::Authorizing;
        self.save(&record).await?;
        Ok((record, url, order))
    }

    /// Sends newOrder.
    async fn place(&self, replaces: Option<&str>) -> Result<(String, Order), IssueError> {
        let order = NewOrder {
            name: self.job.name.as_str(),
            profile: self.profile,
            replaces,
        };
        match self.client.new_order(&order).await {
            Err(e) if replaces.is_some() && may_concern_replaces(&e) => {
                warn!(name = %self.job.name, error = %e, "the CA refuses the order as a replacement; ordering without `replaces`");
                Err(IssueError::NotAsReplacement)
            }
            // The request never reached the CA.
            Err(e @ (CallError::Ours(_) | CallError::Here(..))) => Err(self.failed_before_order(e)),
            other => other.map_err(|e| self.ended(e.into_failure(Some(&self.job.name), self.clock.now()))),
        }
    }

    async fn complete(&self, mut record: OrderRecord, url: &str, mut order: Order) -> Result<Obtained, IssueError> {
        let key = self
            .sealer
            .open(&seal_context(self.job), &record.sealed_key)
            .map_err(|e| self.ended(own_failure(FailureKind::Internal, &e.to_string(), self.clock.now())))?;
        let fetch = || self.client.order(url);
        let mut finalized = false;
        loop {
            order = match order.status {
                OrderStatus::Pending => {
                    let deadline = self.clock.uptime() + VALIDATION_TIME;
                    self.authorize(&order, deadline).await?;
                    self.poll(Duration::ZERO, deadline, fetch, |o| o.status != OrderStatus::Pending)
                        .await?
                }
                OrderStatus::Ready if !finalized => {
                    finalized = true;
                    if record.step != OrderStep::Finalizing {
                        record.step = OrderStep::Finalizing;
                        self.save(&record).await?;
                    }
                    self.finalize(&order, &key).await?;
                    self.await_certificate(fetch).await?
                }
                OrderStatus::Ready | OrderStatus::Processing => self.await_certificate(fetch).await?,
                OrderStatus::Valid => return self.download(&order, key).await,
                OrderStatus::Invalid => return Err(self.ended(self.why_invalid(&order).await)),
            };
        }
    }

    /// Proves control of every identifier of the order (RFC 8555 §7.5); there is one.
    async fn authorize(&self, order: &Order, deadline: Duration) -> Result<(), IssueError> {
        for url in &order.authorizations {
            let fetch = || self.client.authorization(url);
            let mut authorization = self.with_retries(fetch).await.map_err(|e| self.failed(e))?.value;
            if authorization.status == AuthorizationStatus::Pending {
                authorization = self.answer(authorization, url).await?;
            }
            if authorization.status == AuthorizationStatus::Pending {
                let decided = |a: &Authorization| a.status != AuthorizationStatus::Pending;
                authorization = self.poll(POLL_FIRST, deadline, fetch, decided).await?;
            }
            if authorization.status == AuthorizationStatus::Invalid {
                return Err(self.ended(self.why_unauthorized(authorization)));
            }
        }
        Ok(())
    }

    /// Responds to the HTTP-01 challenge; every node can answer the CA's request.
    async fn answer(&self, authorization: Authorization, url: &str) -> Result<Authorization, IssueError> {
        let Some(challenge) = authorization.challenges.iter().find(|c| c.kind == "http-01") else {
            let detail = "the CA offers no http-01 challenge for this name";
            return Err(self.ended(own_failure(FailureKind::Refused, detail, self.clock.now())));
        };
        if challenge.status == ChallengeStatus::Pending
            && let Err(refusal) = self.with_retries(|| self.client.respond(&challenge.url)).await
        {
            // The answer to this call may have been lost: then the challenge has moved on, and the CA
            // refuses a second response.
            let now = self
                .with_retries(|| self.client.authorization(url))
                .await
                .map_err(|e| self.failed(e))?
                .value;
            let waits = |c: &super::client::Challenge| c.url == challenge.url && c.status == ChallengeStatus::Pending;
            if now.status == AuthorizationStatus::Pending && now.challenges.iter().any(waits) {
                return Err(self.failed(refusal));
            }
            (self.progress)(Progress::Validating);
            return Ok(now);
        }
        (self.progress)(Progress::Validating);
        Ok(authorization)
    }

    async fn save(&self, record: &OrderRecord) -> Result<(), IssueError> {
        match self.store.put_order(record, self.job.fence).await {
            Err(StoreError::Fenced) => Err(IssueError::Fenced),
            other => other.map_err(IssueError::Store),
        }
    }

    async fn poll<T, F>(
        &self,
        first: Duration,
        deadline: Duration,
        fetch: impl Fn() -> F,
        done: impl Fn(&T) -> bool,
    ) -> Result<T, IssueError>
    where
        F: Future<Output = Result<Fetched<T>, CallError>>,
    {
        let polled = poll::poll(self.clock, first, deadline, fetch, done).await;
        polled.map_err(|e| match e {
            PollError::Stuck => self.stuck(),
            PollError::Call(e) => self.failed(e),
        })
    }

    async fn with_retries<T, F>(&self, call: impl Fn() -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        poll::with_retries(self.clock, call).await
    }
}

/// The context that the key of an order is sealed for.
fn seal_context(job: &Job) -> String {
    format!("orders/{}", job.name)
}

/// Whether the CA may accept a refused order without `replaces`: 409 `alreadyReplaced` (RFC 9773 §5),
/// `malformed` from older servers, 403 if the certificate was another account's. A refusal that is
/// certainly about something else is not tried again.
fn may_concern_replaces(error: &CallError) -> bool {
    const OTHERS: [&str; 8] = [
        "rateLimited",
        "rejectedIdentifier",
        "unsupportedIdentifier",
        "accountDoesNotExist",
        "userActionRequired",
        "badNonce",
        "caa",
        "invalidProfile",
    ];
    matches!(error, CallError::Refused(p) if (400..500).contains(&p.status) && p.status != 429 && !OTHERS.contains(&p.short()))
}
