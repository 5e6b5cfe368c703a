//! Who changes something, and the audit entry that says what changed.

use std::net::{IpAddr, Ipv4Addr};

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainRecord;
use linkseal_store::AuditEntry;
use serde_json::{Value, json};

/// Who asks for a change, and from where.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The name of the token; `local` on a loopback port without tokens.
    pub who: String,
    pub from: IpAddr,
    /// The only tenant whose domains they may touch; `None` for all tenants.
    pub tenant: Option<String>,
}

/// A visitor who came by the share link of a domain's page. No token can have this name.
pub const GUEST: &str = "share link";

impl Actor {
    /// Whether they hold only a share link.
    pub(crate) fn is_guest(&self) -> bool {
        self.who == GUEST
    }

    /// linkseal itself.
    pub(crate) fn own() -> Self {
        Self {
            who: "linkseal".to_owned(),
            from: Ipv4Addr::LOCALHOST.into(),
            tenant: None,
        }
    }
}

/// The longest value in an audit entry, in bytes of JSON; of a longer one only the length is kept.
const MAX_VALUE: usize = 2_048;

/// An entry of the audit log; the store numbers it.
pub fn audit_entry(
    actor: &Actor,
    at: Timestamp,
    action: &str,
    subject: String,
    before: Value,
    after: Value,
) -> AuditEntry {
    AuditEntry {
        id: 0,
        at,
        who: actor.who.clone(),
        from: actor.from.to_string(),
        action: action.to_owned(),
        subject,
        before: bounded(before),
        after: bounded(after),
    }
}

/// What an operator can change about a domain, and the state that it led to.
pub(crate) fn audit_view(record: &DomainRecord) -> Value {
    json!({
        "tenant": record.tenant,
        "former_tenants": record.former_tenants,
        "sending_domain": record.sending_domain,
        "records": record.records,
        "fallback_url": record.fallback_url,
        "app_links": record.app_links,
        "http_while_pending": record.http_while_pending,
        "hsts": record.hsts,
        "paused": record.paused,
        "retired": record.retired,
        "share_generation": record.share_generation,
        "state": record.ssl.state(),
        "reason": record.ssl.reason,
        "next_attempt": record.ssl.next_attempt,
    })
}

/// The members in which two objects differ.
pub(crate) fn difference(before: Value, after: Value) -> (Value, Value) {
    let (Value::Object(mut before), Value::Object(mut after)) = (before, after) else {
        return (Value::Null, Value::Null);
    };
    let same: Vec<String> = before
        .iter()
        .filter(|(key, value)| after.get(key.as_str()) == Some(value))
        .map(|(key, _)| key.clone())
        .collect();
    for key in &same {
        before.remove(key);
        after.remove(key);
    }
    (Value::Object(before), Value::Object(after))
}

fn bounded(value: Value) -> Value {
    let short = |value: Value| {
        let bytes = value.to_string().len();
        if bytes <= MAX_VALUE {
            value
        } else {
            json!({"left_out_bytes": bytes})
        }
    };
    match value {
        Value::Object(object) => object.into_iter().map(|(key, value)| (key, short(value))).collect(),
        value => short(value),
    }
}
