//! `linkseal api METHOD PATH`: one call of the admin API, for calls that have no command of their own.

use std::io::{Read, stdin};

use bytes::Bytes;
use clap::builder::PossibleValuesParser;
use http::Method;
use serde_json::Value;

use super::admin_client::{AdminClient, AdminOptions, RawBody};
use super::{Failure, output};

/// Largest body that is read from stdin, in bytes: an import of some 500,000 domains.
const LARGEST_BODY: u64 = 64 << 20;

/// Call the admin API directly.
///
/// For instance `linkseal api GET /v1/issuer`. `linkseal api GET /openapi.json` lists all calls.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    admin: AdminOptions,
    /// The method.
    #[arg(value_parser = PossibleValuesParser::new(["GET", "POST", "PUT", "PATCH", "DELETE"]))]
    method: String,
    /// The path with its query, such as /v1/audit?limit=20.
    #[arg(value_parser = path)]
    path: String,
    /// The body: JSON, or one JSON value per line for an import. `-`: read it from stdin.
    #[arg(value_parser = given)]
    body: Option<Given>,
}

/// The body argument.
#[derive(Clone, Debug)]
enum Given {
    Here(RawBody),
    Stdin,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let body = match args.body {
        None => None,
        Some(Given::Here(body)) => Some(body),
        Some(Given::Stdin) => Some(from_stdin()?),
    };
    let client = AdminClient::new(&args.admin)?;
    let method = Method::from_bytes(args.method.as_bytes()).map_err(Failure::failed)?;
    client.passed_on(method, &args.path, body, output::bytes).await
}

fn from_stdin() -> Result<RawBody, Failure> {
    let mut text = String::new();
    let read = stdin().take(LARGEST_BODY + 1).read_to_string(&mut text);
    let read = read.map_err(|e| Failure::Failed(format!("stdin cannot be read: {e}")))?;
    if read as u64 > LARGEST_BODY {
        return Err(Failure::Usage(format!(
            "the body on stdin is longer than {LARGEST_BODY} bytes: send it in parts"
        )));
    }
    body(&text).map_err(|e| Failure::Usage(format!("the body on stdin {e}")))
}

fn path(text: &str) -> Result<String, String> {
    match text.starts_with('/') && text.parse::<http::Uri>().is_ok() {
        true => Ok(text.to_owned()),
        false => Err("must be a path that starts with /, such as /v1/issuer".to_owned()),
    }
}

fn given(text: &str) -> Result<Given, String> {
    match text {
        "-" => Ok(Given::Stdin),
        text => body(text).map(Given::Here),
    }
}

/// One JSON value, else one per line; an import skips lines that are empty or begin with #.
fn body(text: &str) -> Result<RawBody, String> {
    let whole = match serde_json::from_str::<Value>(text) {
        Ok(value) => {
            return Ok(RawBody {
                media_type: "application/json",
                bytes: value.to_string().into(),
            });
        }
        Err(error) => error,
    };
    let lines = || text.lines().map(str::trim).enumerate();
    let values = || lines().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    if values().count() < 2 && lines().count() < 2 {
        return Err(format!("must be JSON ({whole})"));
    }
    for (at, line) in values() {
        if let Err(error) = serde_json::from_str::<Value>(line) {
            // Not an import, but one invalid document over several lines.
            let why = if at == 0 { &whole } else { &error };
            return Err(format!(
                "must be JSON, or one JSON value per line (line {}: {why})",
                at + 1
            ));
        }
    }
    Ok(RawBody {
        media_type: "application/x-ndjson",
        bytes: Bytes::copy_from_slice(text.as_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_or_json_lines() {
        let sent = |text: &str| body(text).map(|b| (b.media_type, String::from_utf8(b.bytes.to_vec()).unwrap()));
        assert_eq!(
            sent("{\n \"a\": 1\n}"),
            Ok(("application/json", "{\"a\":1}".to_owned()))
        );
        let lines = "# two\n{\"name\":\"a.example\"}\n\n{\"name\":\"b.example\"}\n";
        assert_eq!(sent(lines), Ok(("application/x-ndjson", lines.to_owned())));
        assert!(sent("{").unwrap_err().starts_with("must be JSON ("));
        assert!(sent("{}\nx\n").unwrap_err().contains("line 2: "));
    }

    #[tokio::test]
    async fn an_answer_is_printed_unchanged() {
        use axum::Router;
        use axum::http::{StatusCode, header};
        use axum::routing::{get, post};
        let tasks = linkseal_base::shutdown::Tasks::new();
        let app = Router::new()
            .route("/metrics", get(|| async { "# HELP x y\nx 1\n" }))
            .route("/v1/issuer", get(|| async { axum::Json(serde_json::json!({"a": 1})) }))
            .route("/v1/nothing", get(|| async { StatusCode::NO_CONTENT }))
            .route(
                "/v1/domains/import",
                post(|body: String| async move { ([(header::CONTENT_TYPE, "application/x-ndjson")], body) }),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = AdminClient::at(format!("http://{}", listener.local_addr().unwrap()));
        tasks.spawn_until_stop(async move { axum::serve(listener, app).await.unwrap() });
        let call = async |method: Method, path: &str, sent: Option<&str>| {
            let mut out = Vec::new();
            let sent = sent.map(|text| body(text).unwrap());
            let done = client.passed_on(method, path, sent, |part| {
                out.extend_from_slice(part);
                Ok(())
            });
            let done = done.await;
            done.map(|()| String::from_utf8(out).unwrap())
                .map_err(|e| e.to_string())
        };
        assert_eq!(call(Method::GET, "/metrics", None).await.unwrap(), "# HELP x y\nx 1\n");
        assert_eq!(call(Method::GET, "/v1/issuer", None).await.unwrap(), "{\"a\":1}\n");
        assert_eq!(call(Method::GET, "/v1/nothing", None).await.unwrap(), "");
        let lines = "{\"name\":\"a.example\"}\n{\"name\":\"b.example\"}\n";
        assert_eq!(
            call(Method::POST, "/v1/domains/import", Some(lines)).await.unwrap(),
            lines
        );
        let missing = call(Method::GET, "/v1/missing", None).await.unwrap_err();
        assert!(missing.contains("404"), "{missing}");
        tasks.stop();
    }
}
