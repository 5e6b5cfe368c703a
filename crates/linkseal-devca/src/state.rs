//! Accounts, orders, authorizations and certificates, all in memory. The status of an order is computed
//! from its parts, so that nothing has to be kept in sync.

use std::collections::{HashMap, VecDeque};

use http::StatusCode;
use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use serde_json::{Value, json};

use super::jws::AccountKey;
use super::nonces::Nonces;
use super::problem::{Identifier, Problem};

/// Most accounts; beyond that newAccount is refused.
const MAX_ACCOUNTS: usize = 10_000;
/// Most orders, with their authorizations and certificates; beyond that the oldest are dropped. At
/// about 4 KiB each this is 400 MiB, and far more than a demo or a test orders.
const MAX_ORDERS: usize = 100_000;

/// What the CA has issued and is working on.
#[derive(Default)]
pub(super) struct State {
    pub(super) nonces: Nonces,
    accounts: HashMap<String, Account>,
    by_thumbprint: HashMap<String, String>,
    pub(super) orders: HashMap<String, Order>,
    /// Oldest first.
    order_ids: VecDeque<String>,
    pub(super) authorizations: HashMap<String, Authorization>,
    /// By serial number.
    pub(super) certificates: HashMap<String, Issued>,
}

#[derive(Clone)]
pub(super) struct Account {
    pub(super) id: String,
    pub(super) key: AccountKey,
    pub(super) contact: Vec<String>,
    pub(super) deactivated: bool,
}

pub(super) struct Order {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) names: Vec<String>,
    pub(super) authorizations: Vec<String>,
    pub(super) expires: Timestamp,
    pub(super) outcome: Outcome,
    /// The ARI identifier of the certificate that it replaces.
    pub(super) replaces: Option<String>,
    pub(super) profile: Option<String>,
}

/// The result of an order.
pub(super) enum Outcome {
    /// Not finalized yet.
    Open,
    /// A certificate, available from this moment on.
    Issued { serial: String, from: Timestamp },
    /// Finalization failed.
    Failed(Problem),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderStatus {
    Pending,
    Ready,
    Processing,
    Valid,
    Invalid,
}

pub(super) struct Authorization {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) name: String,
    pub(super) token: String,
    pub(super) expires: Timestamp,
    pub(super) challenge: Challenge,
    /// The requests of the validation, for people (`validationRecord`).
    pub(super) records: Vec<Value>,
    pub(super) deactivated: bool,
}

/// The state of the only challenge of an authorization.
pub(super) enum Challenge {
    Pending,
    Processing,
    Valid(Timestamp),
    Invalid(Problem),
}

pub(super) struct Issued {
    pub(super) account: String,
    pub(super) names: Vec<String>,
    pub(super) chain_pem: String,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// The reason code (RFC 5280 §5.3.1). `None`: not revoked.
    pub(super) revoked: Option<u64>,
    /// The order that replaces it.
    pub(super) replaced_by: Option<String>,
}

/// A new identifier that cannot be guessed.
pub(super) fn new_id() -> String {
    hex::encode(random::bytes::<8>())
}

/// Adds a field to a JSON object.
pub(super) fn put(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Value::Object(fields) = object {
        fields.insert(key.to_owned(), value.into());
    }
}

impl State {
    pub(super) fn account(&self, id: &str) -> Option<&Account> {
        self.accounts.get(id)
    }

    pub(super) fn account_mut(&mut self, id: &str) -> Option<&mut Account> {
        self.accounts.get_mut(id)
    }

    pub(super) fn account_of_key(&self, thumbprint: &str) -> Option<&Account> {
        self.accounts.get(self.by_thumbprint.get(thumbprint)?)
    }

    pub(super) fn add_account(&mut self, account: Account) -> Result<(), Problem> {
        if self.accounts.len() >= MAX_ACCOUNTS {
            return Err(Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rateLimited",
                "this CA holds no more accounts",
            ));
        }
        self.by_thumbprint
            .insert(account.key.thumbprint.clone(), account.id.clone());
        self.accounts.insert(account.id.clone(), account);
        Ok(())
    }

    /// Adds an order; drops the oldest, with everything that belongs to it, if there are too many.
    pub(super) fn add_order(&mut self, order: Order) {
        while self.order_ids.len() >= MAX_ORDERS {
            let Some(old) = self.order_ids.pop_front().and_then(|id| self.orders.remove(&id)) else {
                continue;
            };
            for id in &old.authorizations {
                self.authorizations.remove(id);
            }
            if let Outcome::Issued { serial, .. } = &old.outcome {
                self.certificates.remove(serial);
            }
        }
        self.order_ids.push_back(order.id.clone());
        self.orders.insert(order.id.clone(), order);
    }

    /// An order of the account, or the problem to answer.
    pub(super) fn order_of(&self, account: &str, id: &str) -> Result<&Order, Problem> {
        let order = self
            .orders
            .get(id)
            .ok_or_else(|| Problem::not_found(format!("No order for ID {id}")))?;
        if order.account == account {
            Ok(order)
        } else {
            Err(foreign())
        }
    }

    /// An authorization of the account, or the problem to answer.
    pub(super) fn authorization_of(&mut self, account: &str, id: &str) -> Result<&mut Authorization, Problem> {
        let found = self
            .authorizations
            .get_mut(id)
            .ok_or_else(|| Problem::not_found("No such authorization"))?;
        if found.account == account {
            Ok(found)
        } else {
            Err(foreign())
        }
    }

    /// A valid authorization of the account for a name, to be reused.
    pub(super) fn valid_authorization(&self, account: &str, name: &str, now: Timestamp) -> Option<String> {
        // A full scan: only tests enable reuse.
        self.authorizations
            .values()
            .find(|a| a.account == account && a.name == name && a.status(now) == "valid")
            .map(|a| a.id.clone())
    }

    /// The status of an order (RFC 8555 §7.1.6).
    pub(super) fn order_status(&self, order: &Order, now: Timestamp) -> OrderStatus {
        match &order.outcome {
            Outcome::Issued { from, .. } if *from > now => return OrderStatus::Processing,
            Outcome::Issued { .. } => return OrderStatus::Valid,
            Outcome::Failed(_) => return OrderStatus::Invalid,
            Outcome::Open if order.expires <= now => return OrderStatus::Invalid,
            Outcome::Open => {}
        }
        let mut status = OrderStatus::Ready;
        for id in &order.authorizations {
            match self.authorizations.get(id).map_or("invalid", |a| a.status(now)) {
                "valid" => {}
                "pending" => status = OrderStatus::Pending,
                _ => return OrderStatus::Invalid,
            }
        }
        status
    }

    /// An order as JSON.
    pub(super) fn order_json(&self, order: &Order, base: &str, now: Timestamp) -> Value {
        let status = self.order_status(order, now);
        let identifiers: Vec<_> = order.names.iter().map(Identifier::dns).collect();
        let authorizations: Vec<_> = order
            .authorizations
            .iter()
            .map(|id| format!("{base}/authz/{id}"))
            .collect();
        let mut json = json!({
            "status": status.as_str(),
            "expires": order.expires,
            "identifiers": identifiers,
            "authorizations": authorizations,
            "finalize": format!("{base}/order/{}/finalize", order.id),
        });
        if let Outcome::Issued { serial, .. } = &order.outcome
            && status == OrderStatus::Valid
        {
            put(&mut json, "certificate", format!("{base}/cert/{serial}"));
        }
        if let Some(error) = self.order_error(order) {
            put(&mut json, "error", json!(error));
        }
        if let Some(replaces) = &order.replaces {
            put(&mut json, "replaces", replaces.as_str());
        }
        if let Some(profile) = &order.profile {
            put(&mut json, "profile", profile.as_str());
        }
        json
    }

    fn order_error<'a>(&'a self, order: &'a Order) -> Option<&'a Problem> {
        if let Outcome::Failed(problem) = &order.outcome {
            return Some(problem);
        }
        order
            .authorizations
            .iter()
            .find_map(|id| match &self.authorizations.get(id)?.challenge {
                Challenge::Invalid(problem) => Some(problem),
                _ => None,
            })
    }
}

impl OrderStatus {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Processing => "processing",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
        }
    }
}

impl Authorization {
    /// A new one, with its challenge.
    pub(super) fn new(account: &str, name: &str, expires: Timestamp) -> Self {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        Self {
            id: new_id(),
            account: account.to_owned(),
            name: name.to_owned(),
            token: URL_SAFE_NO_PAD.encode(random::bytes::<32>()),
            expires,
            challenge: Challenge::Pending,
            records: Vec::new(),
            deactivated: false,
        }
    }

    /// Its status (RFC 8555 §7.1.6).
    pub(super) fn status(&self, now: Timestamp) -> &'static str {
        match &self.challenge {
            _ if self.deactivated => "deactivated",
            Challenge::Invalid(_) => "invalid",
            _ if self.expires <= now => "expired",
            Challenge::Valid(_) => "valid",
            Challenge::Pending | Challenge::Processing => "pending",
        }
    }

    /// As JSON.
    pub(super) fn json(&self, base: &str, now: Timestamp) -> Value {
        json!({
            "identifier": Identifier::dns(&self.name),
            "status": self.status(now),
            "expires": self.expires,
            "challenges": [self.challenge_json(base)],
        })
    }

    /// Its challenge as JSON (RFC 8555 §8).
    pub(super) fn challenge_json(&self, base: &str) -> Value {
        let mut json = json!({
            "type": "http-01",
            "url": format!("{base}/chall/{}", self.id),
            "token": self.token,
            "status": match &self.challenge {
                Challenge::Pending => "pending",
                Challenge::Processing => "processing",
                Challenge::Valid(_) => "valid",
                Challenge::Invalid(_) => "invalid",
            },
        });
        match &self.challenge {
            Challenge::Valid(at) => put(&mut json, "validated", json!(at)),
            Challenge::Invalid(problem) => put(&mut json, "error", json!(problem)),
            Challenge::Pending | Challenge::Processing => {}
        }
        if !self.records.is_empty() {
            put(&mut json, "validationRecord", self.records.clone());
        }
        json
    }
}

fn foreign() -> Problem {
    Problem::unauthorized("this belongs to another account")
}
