//! From an HTTP request to its answer: the resource, the signer, the injected fault, and the headers of
//! every ACME answer (RFC 8555 §6.5, §7.1).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::core::Core;
use super::faults::{Endpoint, Lost, Refusal};
use super::flood::AnswerBody;
use super::jws::{AccountKey, Jwk, Jws};
use super::problem::Problem;
use super::reply::{HTTP_DATE, Reply};
use super::state::put;
use super::{accounts, certificates, orders};

/// Largest request body in bytes: a CSR with a hundred names is smaller.
const MAX_BODY: usize = 64 * 1024;
/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The path of the terms of service.
const TERMS: &str = "/terms";
const TERMS_TEXT: &str = "A development CA: trust its certificates on this machine only.\n";
const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");

/// The connection has to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("an injected fault closes the connection")]
pub(super) struct Dropped;

/// Answers one request.
pub(super) async fn answer(core: Arc<Core>, request: Request<Incoming>) -> Result<Response<AnswerBody>, Dropped> {
    let path = request.uri().path().to_owned();
    if path == TERMS {
        return Ok(finish(&core, Reply::text("text/plain", TERMS_TEXT.to_owned())).map(Either::Left));
    }
    let Some((endpoint, id)) = route(&path) else {
        return Ok(finish(&core, Refusal::of(Problem::not_found("no such resource")).into()).map(Either::Left));
    };
    if core.faults.is_down() || core.faults.loses(endpoint, Lost::Request) {
        return Err(Dropped);
    }
    if core.faults.hangs(endpoint) {
        std::future::pending::<()>().await;
    }
    let reply = match core.faults.maintenance() {
        Some(refusal) => refusal.into(),
        None => handle(&core, endpoint, id, &path, request)
            .await
            .unwrap_or_else(Reply::from),
    };
    core.stats.count(|s| {
        s.requests += 1;
        s.rate_limited += u64::from(endpoint == Endpoint::NewOrder && reply.status == StatusCode::TOO_MANY_REQUESTS);
    });
    if core.faults.loses(endpoint, Lost::Answer) {
        return Err(Dropped);
    }
    let answer = finish(&core, reply);
    Ok(match core.faults.floods(endpoint) {
        Some(flood) => flood.spoil(&core.stats, answer),
        None => answer.map(Either::Left),
    })
}

fn route(path: &str) -> Option<(Endpoint, &str)> {
    let mut parts = path.strip_prefix('/')?.split('/');
    let (first, second, third) = (parts.next()?, parts.next(), parts.next());
    if parts.next().is_some() {
        return None;
    }
    match (first, second, third) {
        ("dir", None, None) => Some((Endpoint::Directory, "")),
        ("new-nonce", None, None) => Some((Endpoint::NewNonce, "")),
        ("new-acct", None, None) => Some((Endpoint::NewAccount, "")),
        ("new-order", None, None) => Some((Endpoint::NewOrder, "")),
        ("revoke-cert", None, None) => Some((Endpoint::RevokeCert, "")),
        ("acct", Some(id), None) => Some((Endpoint::Account, id)),
        ("order", Some(id), None) => Some((Endpoint::Order, id)),
        ("order", Some(id), Some("finalize")) => Some((Endpoint::Finalize, id)),
        ("authz", Some(id), None) => Some((Endpoint::Authorization, id)),
        ("chall", Some(id), None) => Some((Endpoint::Challenge, id)),
        ("cert", Some(id), None) => Some((Endpoint::Certificate, id)),
        ("renewal-info", Some(id), None) => Some((Endpoint::RenewalInfo, id)),
        _ => None,
    }
}

async fn handle(
    core: &Arc<Core>,
    endpoint: Endpoint,
    id: &str,
    path: &str,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    let method = request.method();
    let plain = matches!(
        endpoint,
        Endpoint::Directory | Endpoint::NewNonce | Endpoint::RenewalInfo
    );
    if plain {
        if let Some(refusal) = core.faults.refusal(endpoint) {
            return Err(refusal);
        }
        return match (endpoint, method) {
            (Endpoint::Directory, &Method::GET) => Ok(Reply::json(StatusCode::OK, directory(core))),
            (Endpoint::NewNonce, &Method::HEAD) => Ok(Reply::empty(StatusCode::OK)),
            (Endpoint::NewNonce, &Method::GET) => Ok(Reply::empty(StatusCode::NO_CONTENT)),
            (Endpoint::RenewalInfo, &Method::GET) => certificates::renewal_info(core, id),
            _ => Err(wrong_method().into()),
        };
    }
    if method != Method::POST {
        return Err(wrong_method().into());
    }
    let jws = Jws::parse(&signed_body(request).await?)?;
    let signer = authenticate(core, endpoint, path, &jws)?;
    if let Some(refusal) = core.faults.refusal(endpoint) {
        return Err(refusal);
    }
    let payload = jws.payload()?;
    let account = match &signer {
        Signer::Key(key, jwk) => return accounts::create(core, key.clone(), jwk, &payload),
        Signer::Account(account) => account.as_str(),
    };
    match endpoint {
        Endpoint::Account => accounts::update(core, account, id, &payload),
        Endpoint::NewOrder => orders::create(core, account, &payload),
        Endpoint::Finalize => orders::finalize(core, account, id, &payload),
        Endpoint::Challenge => orders::challenge(core, account, id, &payload),
        Endpoint::Authorization => orders::authorization(core, account, id, &payload),
        Endpoint::RevokeCert => certificates::revoke(core, account, &payload),
        Endpoint::Order | Endpoint::Certificate if !payload.is_empty() => {
            Err(Problem::malformed("POST-as-GET requests must have an empty payload").into())
        }
        Endpoint::Order => orders::show(core, account, id),
        Endpoint::Certificate => certificates::download(core, account, id),
        // Answered above.
        Endpoint::Directory | Endpoint::NewNonce | Endpoint::RenewalInfo | Endpoint::NewAccount => {
            Err(wrong_method().into())
        }
    }
}

/// Who signed a request.
enum Signer {
    /// A key that is sent with the request.
    Key(AccountKey, Jwk),
    /// A known account, by its id.
    Account(String),
}

/// RFC 8555 §6.2 to §6.5. The nonce is checked last, so that only a signature that verifies uses one up.
fn authenticate(core: &Core, endpoint: Endpoint, path: &str, jws: &Jws) -> Result<Signer, Problem> {
    let header = jws.header()?;
    let (signer, key) = match (header.jwk.clone(), &header.kid) {
        (Some(jwk), None) if endpoint == Endpoint::NewAccount => {
            let key = jwk.account_key()?;
            (Signer::Key(key.clone(), jwk), key)
        }
        (None, Some(kid)) if endpoint != Endpoint::NewAccount => {
            let known = kid.rsplit_once("/acct/").map_or("", |(_, id)| id);
            let state = core.state();
            let account = state
                .account(known)
                .ok_or_else(|| accounts::unknown(format!("Account {kid:?} not found")))?;
            accounts::usable(account)?;
            (Signer::Account(account.id.clone()), account.key.clone())
        }
        (Some(_), Some(_)) => return Err(Problem::malformed("jwk and kid header fields are mutually exclusive")),
        (None, None) => return Err(Problem::malformed("No Key ID or JWK in JWS header")),
        (Some(_), None) => return Err(Problem::malformed("No Key ID in JWS header")),
        (None, Some(_)) => return Err(Problem::malformed("No embedded JWK in JWS header")),
    };
    jws.verify(&header, &key)?;
    let url = format!("{}{path}", core.base);
    if header.url.as_deref() != Some(&url) {
        let detail = format!(
            "JWS header parameter 'url' incorrect. Expected {url:?} got {:?}",
            header.url
        );
        return Err(Problem::unauthorized(detail));
    }
    let good = header
        .nonce
        .as_deref()
        .is_some_and(|nonce| core.state().nonces.redeem(nonce));
    if !good || !core.faults.takes_nonce() {
        core.stats.count(|s| s.bad_nonces += 1);
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "badNonce",
            "JWS has an invalid anti-replay nonce",
        ));
    }
    Ok(signer)
}

async fn signed_body(request: Request<Incoming>) -> Result<Bytes, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    if kind.is_none_or(|kind| kind != "application/jose+json") {
        let detail = "No or wrong Content-Type header on POST. Content-Type must be \"application/jose+json\"";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "malformed", detail));
    }
    let body = Limited::new(request.into_body(), MAX_BODY).collect();
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "malformed",
            "the request is cut short or too long",
        )),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "malformed",
            "the request did not arrive in time",
        )),
    }
}

fn directory(core: &Core) -> Value {
    let base = &core.base;
    let mut meta = json!({
        "termsOfService": format!("{base}{TERMS}"),
    });
    if !core.eab.is_empty() {
        put(&mut meta, "externalAccountRequired", true);
    }
    if !core.caa_identities.is_empty() {
        put(&mut meta, "caaIdentities", core.caa_identities.clone());
    }
    if !core.profiles.is_empty() {
        let profiles: Map<_, _> = core
            .profiles
            .iter()
            .map(|(name, p)| (name.clone(), p.description.clone().into()))
            .collect();
        put(&mut meta, "profiles", profiles);
    }
    let mut directory = json!({
        "newNonce": format!("{base}/new-nonce"),
        "newAccount": format!("{base}/new-acct"),
        "newOrder": format!("{base}/new-order"),
        "revokeCert": format!("{base}/revoke-cert"),
        "meta": meta,
    });
    if core.faults.has_ari() {
        put(&mut directory, "renewalInfo", format!("{base}/renewal-info"));
    }
    directory
}

fn finish(core: &Core, reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    let link = format!("<{}/dir>;rel=\"index\"", core.base);
    let date = core.clock.now().to_datetime().format(HTTP_DATE).unwrap_or_default();
    let common = [
        (REPLAY_NONCE, core.state().nonces.issue()),
        (header::LINK, link),
        (header::DATE, date),
    ];
    for (name, value) in common.into_iter().chain(reply.headers) {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.append(name, value);
        }
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !reply.content_type.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    }
    response
}

fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "malformed", "Method not allowed")
}
