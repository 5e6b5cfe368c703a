//! newAccount, external account bindings and account updates (RFC 8555 §7.3).

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::core::Core;
use super::faults::Refusal;
use super::jws::{AccountKey, Jwk, Jws};
use super::problem::Problem;
use super::reply::{Reply, read};
use super::state::{Account, new_id};

/// Most contacts of an account.
const MAX_CONTACTS: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewAccount {
    #[serde(default)]
    contact: Vec<String>,
    #[serde(default)]
    terms_of_service_agreed: bool,
    #[serde(default)]
    only_return_existing: bool,
    external_account_binding: Option<Value>,
}

#[derive(Deserialize)]
struct Update {
    /// `None`: unchanged.
    contact: Option<Vec<String>>,
    /// `None`: unchanged.
    status: Option<String>,
}

/// Finds the key's account, or creates one.
pub(super) fn create(core: &Core, key: AccountKey, jwk: &Jwk, payload: &[u8]) -> Result<Reply, Refusal> {
    let wanted: NewAccount = read(payload)?;
    if let Some(known) = core.state().account_of_key(&key.thumbprint) {
        usable(known)?;
        return Ok(reply(core, known, StatusCode::OK));
    }
    if wanted.only_return_existing {
        return Err(unknown("No account exists with the provided key").into());
    }
    if !wanted.terms_of_service_agreed {
        return Err(Problem::malformed("must agree to terms of service").into());
    }
    check_contact(&wanted.contact)?;
    check_binding(core, jwk, wanted.external_account_binding.as_ref())?;
    let account = Account {
        id: new_id(),
        key,
        contact: wanted.contact,
        deactivated: false,
    };
    let created = reply(core, &account, StatusCode::CREATED);
    {
        let mut state = core.state();
        // A concurrent request may have created it.
        if let Some(known) = state.account_of_key(&account.key.thumbprint) {
            return Ok(reply(core, known, StatusCode::OK));
        }
        state.add_account(account)?;
    }
    core.stats.count(|s| s.accounts += 1);
    Ok(created)
}

/// Returns an account, after updating its contact or its status if requested.
pub(super) fn update(core: &Core, signer: &str, id: &str, payload: &[u8]) -> Result<Reply, Refusal> {
    if signer != id {
        return Err(Problem::unauthorized("the signing key belongs to another account").into());
    }
    let update: Update = if payload.is_empty() {
        Update {
            contact: None,
            status: None,
        }
    } else {
        read(payload)?
    };
    let mut state = core.state();
    let account = state.account_mut(id).ok_or_else(|| unknown("No such account"))?;
    if let Some(contact) = update.contact {
        check_contact(&contact)?;
        account.contact = contact;
    }
    match update.status.as_deref() {
        None | Some("valid") => {}
        Some("deactivated") => account.deactivated = true,
        Some(_) => return Err(Problem::malformed("an account's status can only be changed to deactivated").into()),
    }
    Ok(reply(core, account, StatusCode::OK))
}

/// Refuses a deactivated account.
pub(super) fn usable(account: &Account) -> Result<(), Problem> {
    if account.deactivated {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "unauthorized",
            "Account is not valid, has status \"deactivated\"",
        ));
    }
    Ok(())
}

/// The answer to a client that names an unknown account, as after a restart of the CA.
pub(super) fn unknown(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "accountDoesNotExist", detail)
}

fn reply(core: &Core, account: &Account, status: StatusCode) -> Reply {
    let state = if account.deactivated { "deactivated" } else { "valid" };
    Reply::json(status, json!({ "status": state, "contact": account.contact }))
        .location(format!("{}/acct/{}", core.base, account.id))
}

fn check_contact(contact: &[String]) -> Result<(), Problem> {
    if contact.len() > MAX_CONTACTS {
        return Err(Problem::malformed(format!(
            "too many contacts, at most {MAX_CONTACTS} are allowed"
        )));
    }
    if let Some(wrong) = contact.iter().find(|c| !c.starts_with("mailto:")) {
        let detail = format!("contact method {wrong:?} is not supported, only mailto is");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "unsupportedContact", detail));
    }
    if let Some(wrong) = contact.iter().find(|c| !c.contains('@') || c.contains(['?', ','])) {
        let detail = format!("contact {wrong:?} is not a single e-mail address");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalidContact", detail));
    }
    Ok(())
}

/// RFC 8555 §7.3.4: the account's key, MACed with a key that the operator issued.
fn check_binding(core: &Core, account_key: &Jwk, binding: Option<&Value>) -> Result<(), Problem> {
    if core.eab.is_empty() {
        return Ok(());
    }
    let Some(binding) = binding else {
        let detail = "this CA requires an external account binding: configure a key id and its HMAC key";
        return Err(Problem::new(StatusCode::FORBIDDEN, "externalAccountRequired", detail));
    };
    let jws = Jws::from_value(binding)?;
    let header = jws.header()?;
    if header.nonce.is_some() {
        return Err(Problem::malformed("an external account binding must not have a nonce"));
    }
    if header.url.as_deref() != Some(&format!("{}/new-acct", core.base)) {
        return Err(Problem::malformed(
            "the external account binding's url is not newAccount's",
        ));
    }
    let known = header
        .kid
        .as_deref()
        .and_then(|kid| core.eab.iter().find(|k| k.key_id == kid));
    let Some(known) = known else {
        return Err(Problem::unauthorized(
            "the external account binding's key id is unknown",
        ));
    };
    jws.verify_mac(&header, &known.hmac_key)?;
    let bound: Jwk = serde_json::from_slice(&jws.payload()?)
        .map_err(|_| Problem::malformed("the external account binding's payload is not a key"))?;
    if bound != *account_key {
        return Err(Problem::malformed("the external account binding is for another key"));
    }
    Ok(())
}
