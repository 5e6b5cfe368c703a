//! Certificates after issuance: download, revocation (RFC 8555 §7.4.2, §7.6), renewal information
//! (RFC 9773).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::core::Core;
use super::faults::{Refusal, Window};
use super::jws::decode;
use super::problem::Problem;
use super::reply::{Reply, read};
use super::state::{Issued, State};

/// When a client should fetch the renewal window again, as at Let's Encrypt.
const ARI_RETRY_AFTER: Duration = Duration::from_secs(6 * 3600);

/// The chain, leaf first.
pub(super) fn download(core: &Core, account: &str, serial: &str) -> Result<Reply, Refusal> {
    let state = core.state();
    let issued = state
        .certificates
        .get(serial)
        .ok_or_else(|| Problem::not_found("Certificate not found"))?;
    if issued.account != account {
        return Err(Problem::unauthorized("Account in use did not issue specified certificate").into());
    }
    Ok(Reply::text(
        "application/pem-certificate-chain",
        issued.chain_pem.clone(),
    ))
}

/// Revokes a certificate of the account.
pub(super) fn revoke(core: &Core, account: &str, payload: &[u8]) -> Result<Reply, Refusal> {
    #[derive(Deserialize)]
    struct Revoke {
        certificate: String,
        /// `None`: unspecified.
        reason: Option<u64>,
    }
    let asked: Revoke = read(payload)?;
    let der = decode(&asked.certificate)?;
    let (_, certificate) =
        X509Certificate::from_der(&der).map_err(|_| Problem::malformed("Error parsing certificate"))?;
    let serial = hex::encode(certificate.raw_serial());
    {
        let mut state = core.state();
        let issued = state
            .certificates
            .get_mut(&serial)
            .ok_or_else(|| Problem::not_found("No such certificate"))?;
        if issued.account != account {
            return Err(Problem::unauthorized("the certificate belongs to another account").into());
        }
        if issued.revoked.is_some() {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "alreadyRevoked", "Certificate already revoked").into());
        }
        issued.revoked = Some(asked.reason.unwrap_or(0));
    }
    core.stats.count(|s| s.revocations += 1);
    Ok(Reply::empty(StatusCode::OK))
}

/// When the certificate should be renewed.
pub(super) fn renewal_info(core: &Core, ari_id: &str) -> Result<Reply, Refusal> {
    let window = {
        let state = core.state();
        let known = by_ari_id(core, &state, ari_id).filter(|_| core.faults.has_ari());
        let (_, issued) = known.ok_or_else(|| Problem::not_found("Requested certificate was not found"))?;
        core.faults
            .ari_window(ari_id)
            .unwrap_or_else(|| usual_window(core, issued))
    };
    let json = json!({ "suggestedWindow": { "start": window.start, "end": window.end } });
    Ok(Reply::json(StatusCode::OK, json).retry_after(core.faults.ari_retry_after().unwrap_or(ARI_RETRY_AFTER)))
}

/// The certificate of an ARI identifier (RFC 9773 §4.1), with its serial number.
pub(super) fn by_ari_id<'a>(core: &Core, state: &'a State, ari_id: &str) -> Option<(String, &'a Issued)> {
    let (authority, serial) = ari_id.split_once('.')?;
    if URL_SAFE_NO_PAD.decode(authority).ok()? != core.authority.key_identifier() {
        return None;
    }
    let serial = hex::encode(URL_SAFE_NO_PAD.decode(serial).ok()?);
    state.certificates.get(&serial).map(|issued| (serial, issued))
}

/// The first half of the last third of the certificate's life, so that a client that picks the last
/// moment still has time for retries. For a revoked certificate the window is in the past.
fn usual_window(core: &Core, issued: &Issued) -> Window {
    if issued.revoked.is_some() {
        let now = core.clock.now();
        return Window {
            start: now.minus(Duration::from_secs(3600)),
            end: now.minus(Duration::from_secs(60)),
        };
    }
    let third = issued.not_after.saturating_since(issued.not_before) / 3;
    Window {
        start: issued.not_after.minus(third),
        end: issued.not_after.minus(third / 2),
    }
}
