//! Operation ids, tags, parameters and common errors in the description of the API, for generated
//! clients.

use http::Method;
use serde_json::{Map, Value, json};

use crate::endpoint::Endpoint;

/// Operation ids that say more than method and path.
const NAMES: [(&str, &str, &str); 37] = [
    ("GET", "/healthz", "getLiveness"),
    ("GET", "/readyz", "getReadiness"),
    ("GET", "/metrics", "getMetrics"),
    ("GET", "/metrics/domains", "getDomainMetrics"),
    ("GET", "/openapi.json", "getDescription"),
    ("GET", "/v1/domains", "listDomains"),
    ("POST", "/v1/domains", "registerDomain"),
    ("GET", "/v1/domains/{name}", "getDomain"),
    ("PATCH", "/v1/domains/{name}", "changeDomain"),
    ("DELETE", "/v1/domains/{name}", "removeDomain"),
    ("POST", "/v1/domains/{name}/verify", "verifyDomain"),
    ("POST", "/v1/domains/{name}/reissue", "reissueCertificate"),
    ("GET", "/v1/domains/{name}/dns", "getDomainDns"),
    ("GET", "/v1/domains/{name}/timeline", "listDomainTimeline"),
    ("POST", "/v1/domains/{name}/share", "createShareLink"),
    ("DELETE", "/v1/domains/{name}/share", "endShareLinks"),
    ("POST", "/v1/domains/https_ready", "areHttpsReady"),
    ("POST", "/v1/domains/import", "importDomains"),
    ("GET", "/v1/domains/export", "exportDomains"),
    ("GET", "/v1/audit", "listAudit"),
    ("GET", "/v1/issuer", "getIssuer"),
    ("PUT", "/v1/issuer/freeze", "freezeOrders"),
    ("DELETE", "/v1/issuer/freeze", "thawOrders"),
    ("DELETE", "/v1/issuer/holds", "endHolds"),
    ("DELETE", "/v1/mass-failure", "endMassFailureHold"),
    ("DELETE", "/v1/suspicion", "endSuspicion"),
    ("POST", "/v1/links/inspect", "inspectLink"),
    ("GET", "/v1/events", "followEvents"),
    ("POST", "/v1/events/erase", "eraseEvents"),
    ("GET", "/v1/redirects", "listRedirects"),
    ("GET", "/v1/redirects/{slug}", "getRedirect"),
    ("PUT", "/v1/redirects/{slug}", "putRedirect"),
    ("DELETE", "/v1/redirects/{slug}", "deleteRedirect"),
    ("GET", "/v1/kills", "listKills"),
    ("GET", "/v1/kills/{kind}/{value}", "getKill"),
    ("PUT", "/v1/kills/{kind}/{value}", "putKill"),
    ("DELETE", "/v1/kills/{kind}/{value}", "deleteKill"),
];

/// The operationId: from the table, else derived from method and path.
pub(crate) fn name(endpoint: &Endpoint) -> String {
    let named = NAMES
        .iter()
        .find(|(method, path, _)| *method == endpoint.method.as_str() && *path == endpoint.path);
    if let Some((_, _, name)) = named {
        return (*name).to_owned();
    }
    let mut name = endpoint.method.as_str().to_ascii_lowercase();
    for word in endpoint
        .path
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|w| !w.is_empty() && *w != "v1")
    {
        let (first, rest) = word.split_at(1);
        name.push_str(&first.to_ascii_uppercase());
        name.push_str(rest);
    }
    name
}

/// The tag: the first segment of the path.
pub(crate) fn tag(endpoint: &Endpoint) -> &'static str {
    let path = endpoint.path.strip_prefix("/v1").unwrap_or(endpoint.path);
    let first = path
        .trim_start_matches('/')
        .split(['/', '.'])
        .next()
        .unwrap_or_default();
    match first {
        "healthz" | "readyz" => "health",
        "openapi" => "description",
        other => other,
    }
}

/// An error that several endpoints have in common.
pub(crate) struct SharedError {
    pub(crate) status: &'static str,
    pub(crate) name: &'static str,
    when: &'static str,
    code: &'static str,
}

const SHARED_ERRORS: [SharedError; 9] = [
    SharedError {
        status: "400",
        name: "InvalidRequest",
        when: "A name or value is not allowed.",
        code: "invalid_request or invalid_name",
    },
    SharedError {
        status: "401",
        name: "Unauthorized",
        when: "The token is missing or unknown.",
        code: "unauthorized",
    },
    SharedError {
        status: "403",
        name: "Forbidden",
        when: "The token's role or tenant does not allow it.",
        code: "forbidden",
    },
    SharedError {
        status: "404",
        name: "NotFound",
        when: "It does not exist, or is outside the token's scope.",
        code: "not_found",
    },
    SharedError {
        status: "408",
        name: "TooSlow",
        when: "Receiving the body took too long.",
        code: "invalid_request",
    },
    SharedError {
        status: "409",
        name: "Conflict",
        when: "The request conflicts with the present state.",
        code: "conflict",
    },
    SharedError {
        status: "413",
        name: "TooLarge",
        when: "The body is too large.",
        code: "invalid_request",
    },
    SharedError {
        status: "429",
        name: "RateLimited",
        when: "Too many requests at once, too many wrong tokens, or a rate limit of the CA; `retry_at` and Retry-After say when to try again.",
        code: "rate_limited",
    },
    SharedError {
        status: "503",
        name: "StoreUnavailable",
        when: "The store cannot be read or written at the moment.",
        code: "store_unavailable",
    },
];

/// The common errors of an endpoint.
pub(crate) fn errors(endpoint: &Endpoint) -> impl Iterator<Item = &'static SharedError> {
    let guarded = endpoint.rule.role.is_some();
    let in_path = endpoint.path.contains('{');
    let body = endpoint.body.is_some();
    let changes = endpoint.method != Method::GET;
    let deletes = endpoint.method == Method::DELETE;
    let stored = endpoint.path.starts_with("/v1/");
    let query = endpoint.query.is_some();
    SHARED_ERRORS.iter().filter(move |error| match error.status {
        // Unknown query parameters are refused.
        "400" => stored || query,
        "401" | "403" | "429" => guarded,
        // There may be nothing to delete.
        "404" => in_path || deletes,
        "408" | "413" => body,
        "409" => changes && guarded,
        "503" => stored,
        _ => false,
    })
}

/// All common errors, as `components.responses`.
pub(crate) fn responses(problem: &Value) -> Value {
    let response = |error: &SharedError| {
        let description = format!("{} `code` is {}.", error.when, error.code);
        let content = json!({"application/problem+json": {"schema": problem}});
        let response = match error.status {
            "429" => json!({
                "description": description,
                "headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
                "content": content,
            }),
            _ => json!({"description": description, "content": content}),
        };
        (error.name.to_owned(), response)
    };
    SHARED_ERRORS.iter().map(response).collect::<Map<_, _>>().into()
}

/// A path parameter.
pub(crate) fn path_parameter(path: &str, name: &str) -> Value {
    let of_domain = path.starts_with("/v1/domains/");
    let schema = match name {
        "name" if of_domain => json!({"type": "string", "format": "hostname", "minLength": 1, "maxLength": 253}),
        "slug" => json!({"type": "string", "pattern": "^[A-Za-z0-9._~-]{1,128}$"}),
        "kind" => json!({"type": "string", "enum": ["tenant", "message", "host"]}),
        _ => json!({"type": "string", "minLength": 1, "maxLength": 253}),
    };
    let example = match name {
        "name" if of_domain => "links.customer.example",
        "slug" => "spring-sale",
        "kind" => "tenant",
        "name" => "archive",
        _ => "acme",
    };
    json!({"name": name, "in": "path", "required": true, "schema": schema, "example": example})
}

/// Removes null from the schema of a query parameter, which is left out instead.
pub(crate) fn without_null(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(kinds) = object.get_mut("type").and_then(Value::as_array_mut) {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            let kind = kind.clone();
            object.insert("type".to_owned(), kind);
        }
    }
    let Some(choices) = object.remove("anyOf") else { return };
    let choices = choices.as_array().cloned().unwrap_or_default();
    let mut real: Vec<Value> = choices
        .into_iter()
        .filter(|c| c.get("type") != Some(&json!("null")))
        .collect();
    match (real.len(), real.pop()) {
        (1, Some(Value::Object(only))) => object.extend(only),
        (_, last) => {
            real.extend(last);
            object.insert("anyOf".to_owned(), real.into());
        }
    }
}
