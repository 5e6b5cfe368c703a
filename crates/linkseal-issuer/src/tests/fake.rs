//! A CA in memory behind [`AcmeClient`], with a script of what goes wrong.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use linkseal_base::clock::{Clock, Timestamp};
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm,
};
use tokio::sync::Notify;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use crate::client::{
    AcmeClient, Authorization, AuthorizationStatus, Challenge, ChallengeStatus, Directory, Fetched, NewOrder, Order,
    OrderStatus,
};
use crate::problem::{CallError, Problem};
use crate::renewal::RenewalInfo;

/// Lifetime of the certificates.
pub(super) const LIFE: Duration = Duration::from_secs(90 * 86_400);

pub(super) struct FakeCa {
    pub(super) clock: Clock,
    pub(super) state: Mutex<State>,
    /// Notified when a call hangs.
    pub(super) hung: Notify,
}

pub(super) struct State {
    pub(super) directory: Directory,
    pub(super) orders: Vec<FakeOrder>,
    pub(super) calls: Vec<&'static str>,
    /// Profile and `replaces` of each newOrder.
    pub(super) placed: Vec<(Option<String>, Option<String>)>,
    /// Answers to the next calls of a kind, instead of the usual ones.
    pub(super) refusals: HashMap<&'static str, VecDeque<CallError>>,
    /// What happens at the call of this number.
    pub(super) break_at: Option<(usize, Break)>,
    /// The result of validation. `None`: it never ends.
    pub(super) verdict: Option<Result<(), Problem>>,
    /// The result of signing. `None`: it never ends.
    pub(super) signing: Option<Result<(), Problem>>,
    /// The name in certificates. `None`: the order's.
    pub(super) certified_name: Option<String>,
    /// How far in the future certificates begin. `None`: an hour ago, since CAs backdate.
    pub(super) begins_in: Option<Duration>,
    /// How long ago certificates expired when they are issued. `None`: they live for [`LIFE`].
    pub(super) ended: Option<Duration>,
    /// Retry-After of every authorization that is not decided.
    pub(super) retry_after: Option<Duration>,
    /// By how much the CA's clock is behind ours.
    pub(super) behind: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Break {
    HangBefore,
    HangAfter,
    LoseAnswer,
}

#[derive(Clone)]
pub(super) struct FakeOrder {
    pub(super) name: String,
    pub(super) status: OrderStatus,
    pub(super) challenge: ChallengeStatus,
    pub(super) error: Option<Problem>,
    pub(super) csr: Option<Vec<u8>>,
}

impl FakeCa {
    pub(super) fn new(clock: Clock) -> Arc<Self> {
        let directory = Directory {
            renewal_info: Some("https://ca.example/ari".into()),
            ..Directory::default()
        };
        Arc::new(Self {
            clock,
            hung: Notify::new(),
            state: Mutex::new(State {
                directory,
                orders: Vec::new(),
                calls: Vec::new(),
                placed: Vec::new(),
                refusals: HashMap::new(),
                break_at: None,
                verdict: Some(Ok(())),
                signing: Some(Ok(())),
                certified_name: None,
                begins_in: None,
                ended: None,
                retry_after: None,
                behind: Duration::ZERO,
            }),
        })
    }

    fn time(&self) -> Timestamp {
        self.clock.now().minus(self.state.lock().behind)
    }

    /// Refuses the next call of a kind.
    pub(super) fn refuse(&self, call: &'static str, status: u16, kind: &str, detail: &str) {
        self.answer(call, CallError::Refused(problem(status, kind, detail)));
    }

    pub(super) fn answer(&self, call: &'static str, error: CallError) {
        self.state.lock().refusals.entry(call).or_default().push_back(error);
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
    }

    pub(super) fn count(&self, call: &str) -> usize {
        self.state.lock().calls.iter().filter(|c| **c == call).count()
    }

    async fn step<T>(
        &self,
        call: &'static str,
        effect: impl FnOnce(&mut State) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let broken = {
            let mut state = self.state.lock();
            state.calls.push(call);
            let number = state.calls.len() - 1;
            state.break_at.filter(|(at, _)| *at == number).map(|(_, how)| how)
        };
        if broken == Some(Break::HangBefore) {
            self.hang().await;
        }
        let result = {
            let mut state = self.state.lock();
            match state.refusals.get_mut(call).and_then(VecDeque::pop_front) {
                Some(error) => Err(error),
                None => effect(&mut state),
            }
        };
        match broken {
            Some(Break::HangAfter) => self.hang().await,
            Some(Break::LoseAnswer) => return Err(CallError::NoAnswer("connection reset".into())),
            _ => {}
        }
        result
    }

    async fn hang(&self) {
        self.hung.notify_one();
        std::future::pending::<()>().await;
    }
}

pub(super) fn problem(status: u16, kind: &str, detail: &str) -> Problem {
    let kind = format!("urn:ietf:params:acme:error:{kind}");
    Problem {
        kind,
        detail: detail.into(),
        status,
        ..Problem::default()
    }
}

/// The order that a URL names, by the number at its end.
fn order_at<'a>(state: &'a mut State, url: &str) -> Result<&'a mut FakeOrder, CallError> {
    let number: usize = url.rsplit('/').next().unwrap().parse().unwrap();
    state
        .orders
        .get_mut(number)
        .ok_or_else(|| CallError::Refused(problem(404, "malformed", "no such order")))
}

#[async_trait]
impl AcmeClient for FakeCa {
    async fn directory(&self) -> Result<Arc<Directory>, CallError> {
        // Not counted as a call: the real client caches it for an hour.
        let mut state = self.state.lock();
        match state.refusals.get_mut("directory").and_then(VecDeque::pop_front) {
            Some(error) => Err(error),
            None => Ok(Arc::new(state.directory.clone())),
        }
    }

    async fn new_order(&self, order: &NewOrder<'_>) -> Result<(String, Order), CallError> {
        let sent = (order.profile.map(str::to_owned), order.replaces.map(str::to_owned));
        self.state.lock().placed.push(sent);
        self.step("new_order", |state| {
            let number = state.orders.len();
            state.orders.push(FakeOrder {
                name: order.name.into(),
                status: OrderStatus::Pending,
                challenge: ChallengeStatus::Pending,
                error: None,
                csr: None,
            });
            Ok((
                format!("https://ca.example/order/{number}"),
                view(&state.orders[number], number),
            ))
        })
        .await
    }

    async fn order(&self, url: &str) -> Result<Fetched<Order>, CallError> {
        self.step("order", |state| {
            let signing = state.signing.clone();
            let order = order_at(state, url)?;
            if order.status == OrderStatus::Processing {
                match signing {
                    Some(Ok(())) => order.status = OrderStatus::Valid,
                    Some(Err(problem)) => (order.status, order.error) = (OrderStatus::Invalid, Some(problem)),
                    None => {}
                }
            }
            let number = url.rsplit('/').next().unwrap().parse().unwrap();
            Ok(Fetched {
                value: view(order, number),
                retry_after: None,
            })
        })
        .await
    }

    async fn authorization(&self, url: &str) -> Result<Fetched<Authorization>, CallError> {
        let now = self.clock.now();
        self.step("authorization", |state| {
            let verdict = state.verdict.clone();
            let pause = state.retry_after;
            let order = order_at(state, url)?;
            let mut error = None;
            if order.challenge == ChallengeStatus::Processing {
                match verdict {
                    Some(Ok(())) => (order.challenge, order.status) = (ChallengeStatus::Valid, OrderStatus::Ready),
                    Some(Err(problem)) => {
                        (order.challenge, order.status) = (ChallengeStatus::Invalid, OrderStatus::Invalid);
                        error = Some(problem);
                    }
                    None => {}
                }
            }
            let status = match order.challenge {
                ChallengeStatus::Valid => AuthorizationStatus::Valid,
                ChallengeStatus::Invalid => AuthorizationStatus::Invalid,
                _ => AuthorizationStatus::Pending,
            };
            let dns = Challenge {
                kind: "dns-01".into(),
                url: String::new(),
                status: ChallengeStatus::Pending,
                error: None,
            };
            let http = Challenge {
                kind: "http-01".into(),
                url: url.replace("authz", "challenge"),
                status: order.challenge,
                error,
            };
            let retry_after = pause
                .filter(|_| order.challenge == ChallengeStatus::Processing)
                .map(|span| now + span);
            Ok(Fetched {
                value: Authorization {
                    status,
                    challenges: vec![dns, http],
                },
                retry_after,
            })
        })
        .await
    }

    async fn respond(&self, url: &str) -> Result<(), CallError> {
        self.step("respond", |state| {
            let order = order_at(state, url)?;
            if order.challenge != ChallengeStatus::Pending {
                // As Pebble does.
                return Err(CallError::Refused(problem(
                    400,
                    "malformed",
                    "Cannot update challenge with status processing",
                )));
            }
            order.challenge = ChallengeStatus::Processing;
            Ok(())
        })
        .await
    }

    async fn finalize(&self, url: &str, csr: &[u8]) -> Result<(), CallError> {
        self.step("finalize", |state| {
            let order = order_at(state, url)?;
            if order.status != OrderStatus::Ready {
                return Err(CallError::Refused(problem(403, "orderNotReady", "order is not ready")));
            }
            order.status = OrderStatus::Processing;
            order.csr = Some(csr.to_vec());
            Ok(())
        })
        .await
    }

    fn now(&self) -> Option<Timestamp> {
        Some(self.time())
    }

    async fn certificate(&self, url: &str) -> Result<String, CallError> {
        let now = self.time();
        self.step("certificate", |state| {
            let name = state.certified_name.clone();
            let begin = state
                .begins_in
                .map_or(now.minus(Duration::from_secs(3600)), |span| now + span);
            let end = state.ended.map_or(now + LIFE, |span| now.minus(span));
            let order = order_at(state, url)?;
            Ok(sign(
                order.csr.as_ref().unwrap(),
                name.as_ref().unwrap_or(&order.name),
                (begin, end),
            ))
        })
        .await
    }

    async fn renewal_info(&self, _: &str) -> Result<Option<RenewalInfo>, CallError> {
        self.step("renewal_info", |_| Ok(None)).await
    }

    async fn revoke(&self, _: &[u8], _: u8) -> Result<(), CallError> {
        self.step("revoke", |_| Ok(())).await
    }
}

fn view(order: &FakeOrder, number: usize) -> Order {
    let url = |what: &str| format!("https://ca.example/{what}/{number}");
    Order {
        status: order.status,
        authorizations: vec![url("authz")],
        finalize: url("finalize"),
        certificate: (order.status == OrderStatus::Valid).then(|| url("certificate")),
        error: order.error.clone(),
    }
}

/// The public key of a CSR.
struct Spki(Vec<u8>);

impl PublicKeyData for Spki {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

fn sign(csr: &[u8], name: &str, (begin, end): (Timestamp, Timestamp)) -> String {
    let (_, csr) = X509CertificationRequest::from_der(csr).unwrap();
    let key = Spki(
        csr.certification_request_info
            .subject_pki
            .subject_public_key
            .data
            .to_vec(),
    );
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::new([]).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = root.self_signed(&root_key).unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    params.not_before = begin.to_datetime();
    params.not_after = end.to_datetime();
    params.signed_by(&key, &root, &root_key).unwrap().pem()
}
