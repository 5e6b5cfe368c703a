use super::*;
use crate::problem::ACME_ERROR;

fn name() -> DomainName {
    DomainName::parse("links.customer.example").unwrap()
}

fn kind(status: u16, typ: &str, detail: &str, stage: Stage) -> FailureKind {
    let body = serde_json::json!({"type": format!("{ACME_ERROR}{typ}"), "detail": detail}).to_string();
    classify(&Problem::from_response(status, &body, None), stage, Some(&name()))
}

#[test]
fn every_problem_type_has_its_failure_kind() {
    use FailureKind::*;
    use Stage::*;
    for (status, typ, stage, want) in [
        (400, "connection", Validation, Connection),
        (400, "tls", Validation, Connection),
        (403, "unauthorized", Validation, WrongAnswer),
        (403, "incorrectResponse", Validation, WrongAnswer),
        (403, "unauthorized", Request, Refused),
        (400, "dns", Validation, CaDns),
        (403, "caa", Validation, Caa),
        (403, "caa", Request, Caa),
        (400, "rejectedIdentifier", Request, Rejected),
        (400, "unsupportedIdentifier", Request, Rejected),
        (400, "malformed", Request, Refused),
        (400, "badCSR", Request, Refused),
        (400, "invalidProfile", Request, Refused),
        (403, "userActionRequired", Request, Account),
        (400, "externalAccountRequired", Request, Account),
        (400, "accountDoesNotExist", Request, Account),
        (400, "badNonce", Request, Unreachable),
        (500, "serverInternal", Request, Unreachable),
        (0, "serverInternal", Validation, Unreachable),
        (503, "rateLimited", Request, Unreachable),
        (404, "", Request, Refused),
        (408, "", Request, Unreachable),
        (502, "", Request, Unreachable),
        (429, "", Request, AccountLimit),
        (400, "compound", Validation, Refused),
    ] {
        assert_eq!(kind(status, typ, "words", stage), want, "{status} {typ} {stage:?}");
    }
}

#[test]
fn limits_are_distinguished_by_the_cas_wording() {
    use FailureKind::{AccountLimit, NameLimit};
    for (detail, want) in [
        (
            "too many new orders (300) from this account in the last 3h0m0s, retry after …",
            AccountLimit,
        ),
        (
            "too many registrations (10) from this IP address in the last 3h0m0s",
            AccountLimit,
        ),
        ("too many currently pending authorizations: 300", AccountLimit),
        (
            "too many requests of this type recently: links.customer.example",
            AccountLimit,
        ),
        ("slow down", AccountLimit),
        ("slow down, see https://customer.example/docs", AccountLimit),
        (
            "too many certificates (50) already issued for \"customer.example\" in the last 168h0m0s",
            NameLimit,
        ),
        (
            "too many certificates (5) already issued for this exact set of identifiers",
            NameLimit,
        ),
        (
            "too many failed authorizations (5) for \"links.customer.example\" in the last 1h0m0s",
            NameLimit,
        ),
        (
            "Your account is temporarily prevented from requesting certificates for a.example",
            NameLimit,
        ),
        ("quota for 'customer.example' used up", NameLimit),
        ("quota for LINKS.customer.example.", NameLimit),
        ("quota for other.example and omer.example", AccountLimit),
    ] {
        assert_eq!(kind(429, "rateLimited", detail, Stage::Request), want, "{detail}");
    }
    let sub = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"limits",
        "subproblems":[{"type":"x","detail":"y","identifier":{"type":"dns","value":"a.example"}}]}"#;
    assert_eq!(
        classify(&Problem::from_response(429, sub, None), Stage::Request, None),
        NameLimit
    );
}

#[test]
fn a_failure_keeps_the_cas_wording() {
    let body = r#"{"type":"urn:ietf:params:acme:error:compound","detail":"some\nwere refused","status":403,
        "subproblems":[{"type":"urn:ietf:params:acme:error:caa","detail":"CAA","identifier":{"type":"dns","value":"a.example"}}]}"#;
    let at = Timestamp::from_secs(7);
    let failure = CallError::Refused(Problem::from_response(403, body, Some(at))).into_failure(Some(&name()), at);
    assert_eq!(failure.kind, FailureKind::Caa);
    assert_eq!(failure.retry_after, Some(at));
    assert_eq!(failure.error.detail, "some were refused");
    assert_eq!(failure.error.kind, "urn:ietf:params:acme:error:compound");
    assert_eq!(failure.error.subproblems[0].identifier.as_deref(), Some("a.example"));

    let long = CallError::Refused(Problem::from_response(400, &"ä".repeat(5000), None));
    let failure = long.into_failure(None, at);
    assert_eq!(failure.error.detail.chars().count(), MAX_TEXT);
    assert_eq!(
        (failure.error.kind.as_str(), failure.kind),
        ("about:blank", FailureKind::Refused)
    );
    let silent = CallError::NoAnswer("timed out".into()).into_failure(None, at);
    assert_eq!(
        (silent.error.kind.as_str(), silent.kind),
        ("urn:linkseal:error:unreachable", FailureKind::Unreachable)
    );
}
