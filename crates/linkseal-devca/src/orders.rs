//! newOrder, orders, authorizations, challenges and finalize (RFC 8555 §7.4, §7.5; RFC 9773 §5).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use linkseal_domain::DomainName;
use serde::Deserialize;

use super::core::Core;
use super::csr::Csr;
use super::faults::Refusal;
use super::jws::decode;
use super::problem::Problem;
use super::reply::{Reply, read};
use super::state::{Authorization, Challenge, Issued, Order, OrderStatus, Outcome, State, new_id};
use super::{certificates, validation};

/// Most names in an order, as at Let's Encrypt.
const MAX_NAMES: usize = 100;
/// How long an order and its authorizations may stay open, as at Let's Encrypt.
const ORDER_LIFETIME: Duration = Duration::from_secs(7 * 86_400);
/// Retry-After while a validation or an issuance is in progress.
const POLL_AGAIN: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct NewOrder {
    identifiers: Vec<AskedIdentifier>,
    /// `None`: the CA's choice.
    profile: Option<String>,
    /// The ARI identifier of the certificate that it replaces.
    replaces: Option<String>,
}

#[derive(Deserialize)]
struct AskedIdentifier {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

/// Creates an order with an authorization for each name.
pub(super) fn create(core: &Core, account: &str, payload: &[u8]) -> Result<Reply, Refusal> {
    let asked: NewOrder = read(payload)?;
    let names = names(&asked.identifiers)?;
    if let Some(refusal) = core.faults.refusal_of_names(&names) {
        core.stats
            .count_names(names.iter().map(String::as_str), |s| s.refused += 1);
        return Err(refusal);
    }
    if let Some(profile) = asked.profile.as_deref().filter(|p| !core.profiles.contains_key(*p)) {
        let detail = format!("profile {profile:?} is not offered here");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalidProfile", detail).into());
    }
    // A CA without ARI ignores the field, as it ignores every unknown one.
    let replaces = asked.replaces.filter(|_| core.faults.has_ari());
    if replaces.is_some()
        && let Some(refusal) = core.faults.replaces_refused()
    {
        return Err(refusal);
    }

    let now = core.clock.now();
    let expires = now + ORDER_LIFETIME;
    let mut state = core.state();
    let replaced = replaces
        .as_deref()
        .map(|id| replaceable(core, &state, account, &names, id))
        .transpose()?;
    let mut order = Order {
        id: new_id(),
        account: account.to_owned(),
        names,
        authorizations: Vec::new(),
        expires,
        outcome: Outcome::Open,
        replaces,
        profile: asked.profile,
    };
    let mut created = 0;
    for name in &order.names {
        let reused = if core.faults.reuses_authorizations() {
            state.valid_authorization(account, name, now)
        } else {
            None
        };
        let id = reused.unwrap_or_else(|| {
            created += 1;
            let authorization = Authorization::new(account, name, expires);
            let id = authorization.id.clone();
            state.authorizations.insert(id.clone(), authorization);
            id
        });
        order.authorizations.push(id);
    }
    if let Some(old) = replaced.and_then(|serial| state.certificates.get_mut(&serial)) {
        old.replaced_by = Some(order.id.clone());
    }
    let location = format!("{}/order/{}", core.base, order.id);
    let json = state.order_json(&order, &core.base, now);
    let (counted, replaces, profile) = (order.names.clone(), order.replaces.is_some(), order.profile.clone());
    state.add_order(order);
    drop(state);

    core.stats.count(|s| {
        s.orders += 1;
        s.authorizations += created;
        s.orders_with_replaces += u64::from(replaces);
    });
    core.stats
        .count_names(counted.iter().map(String::as_str), |s| s.orders += 1);
    if let Some(profile) = profile {
        core.stats.count_profile(&profile);
    }
    Ok(Reply::json(StatusCode::CREATED, json).location(location))
}

/// Returns an order.
pub(super) fn show(core: &Core, account: &str, id: &str) -> Result<Reply, Refusal> {
    let state = core.state();
    let order = state.order_of(account, id)?;
    Ok(order_reply(core, &state, order))
}

/// Returns an authorization, after deactivating it if requested.
pub(super) fn authorization(core: &Core, account: &str, id: &str, payload: &[u8]) -> Result<Reply, Refusal> {
    #[derive(Deserialize)]
    struct Update {
        status: String,
    }
    let mut state = core.state();
    let authorization = state.authorization_of(account, id)?;
    if !payload.is_empty() {
        let update: Update = read(payload)?;
        if update.status != "deactivated" {
            return Err(Problem::malformed("an authorization's status can only be changed to deactivated").into());
        }
        authorization.deactivated = true;
    }
    let reply = Reply::json(StatusCode::OK, authorization.json(&core.base, core.clock.now()));
    Ok(match authorization.challenge {
        Challenge::Processing => reply.retry_after(POLL_AGAIN),
        _ => reply,
    })
}

/// Returns a challenge (for an empty payload), or starts its validation once (for `{}`).
pub(super) fn challenge(core: &Arc<Core>, account: &str, id: &str, payload: &[u8]) -> Result<Reply, Refusal> {
    let mut state = core.state();
    let authorization = state.authorization_of(account, id)?;
    let open = authorization.status(core.clock.now()) == "pending";
    if !payload.is_empty() && open && matches!(authorization.challenge, Challenge::Pending) {
        read::<serde_json::Map<String, serde_json::Value>>(payload)?;
        authorization.challenge = Challenge::Processing;
        core.tasks
            .spawn_until_stop(validation::validate(core.clone(), id.to_owned()));
    }
    let reply = Reply::json(StatusCode::OK, authorization.challenge_json(&core.base));
    Ok(reply.up(format!("{}/authz/{id}", core.base)))
}

/// Issues the certificate of a ready order, if the CSR has exactly the order's names.
pub(super) fn finalize(core: &Core, account: &str, id: &str, payload: &[u8]) -> Result<Reply, Refusal> {
    #[derive(Deserialize)]
    struct Finalize {
        csr: String,
    }
    let finalize: Finalize = read(payload)?;
    let csr = Csr::parse(&decode(&finalize.csr)?)?;
    let now = core.clock.now();
    let mut state = core.state();
    let order = state.order_of(account, id)?;
    let status = state.order_status(order, now);
    if status != OrderStatus::Ready {
        let detail = format!(
            "Order's status (\"{}\") is not acceptable for finalization",
            status.as_str()
        );
        return Err(Problem::new(StatusCode::FORBIDDEN, "orderNotReady", detail).into());
    }
    let wanted: BTreeSet<_> = order.names.iter().cloned().collect();
    if csr.names != wanted {
        let detail = format!("CSR is for {:?}, the order for {wanted:?}", csr.names);
        return Err(Problem::new(StatusCode::BAD_REQUEST, "badCSR", detail).into());
    }
    let names = order.names.clone();
    let profile = order.profile.as_ref().and_then(|p| core.profiles.get(p));
    let lifetime = core
        .faults
        .lifetime()
        .or_else(|| profile.and_then(|p| p.lifetime))
        .unwrap_or(core.lifetime);
    let outcome = match core.faults.finalize_failure() {
        Some(problem) => Outcome::Failed(problem),
        None => {
            let signed = core
                .authority
                .sign(&csr.key, &names, now.minus(core.backdate), lifetime)
                .map_err(|e| Problem::internal(format!("signing failed: {e}")))?;
            let issued = Issued {
                account: account.to_owned(),
                names: names.clone(),
                chain_pem: signed.chain_pem,
                not_before: signed.not_before,
                not_after: signed.not_after,
                revoked: None,
                replaced_by: None,
            };
            state.certificates.insert(signed.serial.clone(), issued);
            Outcome::Issued {
                serial: signed.serial,
                from: now + core.faults.processing(),
            }
        }
    };
    let issued = matches!(outcome, Outcome::Issued { .. });
    if let Some(order) = state.orders.get_mut(id) {
        order.outcome = outcome;
    }
    let reply = order_reply(core, &state, state.order_of(account, id)?);
    drop(state);
    if issued {
        tracing::debug!(?names, "devca: certificate issued");
        core.stats.count(|s| s.certificates += 1);
        core.stats
            .count_names(names.iter().map(String::as_str), |s| s.certificates += 1);
    }
    Ok(reply)
}

fn order_reply(core: &Core, state: &State, order: &Order) -> Reply {
    let now = core.clock.now();
    let reply = Reply::json(StatusCode::OK, state.order_json(order, &core.base, now))
        .location(format!("{}/order/{}", core.base, order.id));
    match state.order_status(order, now) {
        OrderStatus::Processing => reply.retry_after(POLL_AGAIN),
        _ => reply,
    }
}

/// The distinct names of an order, in the order of the request.
fn names(identifiers: &[AskedIdentifier]) -> Result<Vec<String>, Problem> {
    if identifiers.is_empty() {
        return Err(Problem::malformed("NewOrder request did not specify any identifiers"));
    }
    if identifiers.len() > MAX_NAMES {
        return Err(Problem::malformed(format!(
            "Order cannot contain more than {MAX_NAMES} identifiers"
        )));
    }
    let mut names: Vec<String> = Vec::with_capacity(identifiers.len());
    let mut rejected = Vec::new();
    for identifier in identifiers {
        if identifier.kind != "dns" {
            let detail = format!("identifier type {:?} is not supported, only dns is", identifier.kind);
            return Err(Problem::new(StatusCode::BAD_REQUEST, "unsupportedIdentifier", detail));
        }
        match DomainName::parse(&identifier.value) {
            // Refused, not corrected: the client looks for the name as it sent it.
            Ok(name) if name.as_str() != identifier.value => {
                let detail = "Domain name is not in its canonical form: lower case, IDNA, no trailing dot";
                rejected.push((identifier.value.as_str(), detail.to_owned()));
            }
            Ok(_) if names.contains(&identifier.value) => {}
            Ok(_) => names.push(identifier.value.clone()),
            Err(e) => rejected.push((identifier.value.as_str(), e.to_string())),
        }
    }
    if rejected.is_empty() {
        return Ok(names);
    }
    Err(Problem::rejected_identifiers(
        rejected.iter().map(|(name, detail)| (*name, detail.as_str())),
    ))
}

/// The serial number of the certificate that an order replaces, if it may (RFC 9773 §5).
fn replaceable(core: &Core, state: &State, account: &str, names: &[String], ari_id: &str) -> Result<String, Problem> {
    let (serial, old) = certificates::by_ari_id(core, state, ari_id)
        .ok_or_else(|| Problem::not_found(format!("could not find an order for the certificate {ari_id:?}")))?;
    if old.account != account {
        return Err(Problem::unauthorized(
            "requester account did not request the certificate being replaced by this order",
        ));
    }
    if !old.names.iter().any(|name| names.contains(name)) {
        return Err(Problem::malformed(
            "identifiers in this order do not match those of the certificate being replaced",
        ));
    }
    let replacement = old.replaced_by.as_ref().and_then(|id| state.orders.get(id));
    if replacement.is_some_and(|order| state.order_status(order, core.clock.now()) != OrderStatus::Invalid) {
        let detail = format!(
            "cannot indicate an order replaces certificate with serial {serial:?}, which already has a replacement order"
        );
        return Err(Problem::new(StatusCode::CONFLICT, "alreadyReplaced", detail));
    }
    Ok(serial)
}
