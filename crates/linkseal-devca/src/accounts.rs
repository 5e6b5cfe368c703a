//! newAccount, external account bindings, and what can be changed of an account (RFC 8555 §7.3).

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::core::Core;
use super::faults::Refusal;
use super::jws::{AccountKey, Jwk, Jws};
use super::problem::Problem;
use super::reply::{Reply, read};
use super::state::{Account, new_id};

/// Contacts of one account.
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
    /// `None`: the account is bound to nothing.
    external_account_binding: Option<Value>,
}

#[derive(Deserialize)]
struct Update {
    /// `None`: stays as it is.
    contact: Option<Vec<String>>,
    /// `None`: stays as it is.
    status: Option<String>,
}

/// Finds the key's account, or makes one.
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
        // Two requests may have come at once.
        if let Some(known) = state.account_of_key(&account.key.thumbprint) {
            return Ok(reply(core, known, StatusCode::OK));
        }
        state.add_account(account)?;
    }
    core.stats.count(|s| s.accounts += 1);
    Ok(created)
}

/// Shows an account, after changing its contact or its status when asked to.
pub(super) fn update(core: &Core, signer: &str, id: &str, payload: &[u8]) -> Result<Reply, Refusal> {
    if signer != id {
        return Err(Problem::unauthorized("this is another account").into());
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

/// Whether the account may still do something.
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

/// What a client hears that names an account this CA does not have, as after the CA's restart.
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
        let detail = format!("contact {wrong:?} is not one e-mail address");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalidContact", detail));
    }
    Ok(())
}

/// RFC 8555 §7.3.4: the account's key, MACed under a key the operator handed out.
fn check_binding(core: &Core, account_key: &Jwk, binding: Option<&Value>) -> Result<(), Problem> {
    if core.eab.is_empty() {
        return Ok(());
    }
    let Some(binding) = binding else {
        let detail = "this CA wants an external account binding; give a key id and its HMAC key";
        return Err(Problem::new(StatusCode::FORBIDDEN, "externalAccountRequired", detail));
    };
    let jws = Jws::from_value(binding)?;
    let header = jws.header()?;
    if header.nonce.is_some() {
        return Err(Problem::malformed("an external account binding carries no nonce"));
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
        .map_err(|_| Problem::malformed("the external account binding's payload is no key"))?;
    if bound != *account_key {
        return Err(Problem::malformed("the external account binding is for another key"));
    }
    Ok(())
}
