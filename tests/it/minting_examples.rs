//! The snippets of `examples/minting/`: they reproduce every shared test vector byte for byte, and
//! whatever else they mint verifies here and works on an edge.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use linkseal_link::{Destination, LinkKey, LinkKeys, Token, TokenBody};
use serde_json::{Value, json};

use crate::support::edge::LINK_SECRET;
use crate::support::world::World;

/// Reads an array of jobs from standard input and prints an array of their tokens.
const PYTHON: &str = r#"
import json, sys
from linkseal_links import Minter
out = []
for v in json.load(sys.stdin):
    minter = Minter(v["key_id"], v["secret_hex"], v["tenant"])
    message, at = v["message_id_hex"], v["issued_at"]
    try:
        if v["kind"] == "open":
            out.append(minter.open(message, at))
        elif v["kind"] == "click":
            out.append(minter.click(message, v["link"], v["destination"], at))
        else:
            out.append(minter.unsubscribe(message, v["link"], at))
    except ValueError:
        out.append(None)
print(json.dumps(out))
"#;
const NODE: &str = r#"
import { Minter } from "./linkseal-links.mjs";
let text = "";
for await (const chunk of process.stdin) text += chunk;
const out = JSON.parse(text).map((v) => {
  const minter = new Minter(v.key_id, v.secret_hex, v.tenant);
  const [message, at] = [v.message_id_hex, v.issued_at];
  try {
    if (v.kind === "open") return minter.open(message, at);
    if (v.kind === "click") return minter.click(message, v.link, v.destination, at);
    return minter.unsubscribe(message, v.link, at);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
});
console.log(JSON.stringify(out));
"#;

/// Mints with a snippet; `None` for each job that it refuses.
fn minted(folder: &str, program: &str, arguments: &[&str], jobs: &[Value]) -> Vec<Option<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/minting")
        .join(folder);
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; tests/run.sh installs it"));
    let input = serde_json::to_vec(jobs).unwrap();
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn python(jobs: &[Value]) -> Vec<Option<String>> {
    minted("python", "python3", &["-c", PYTHON], jobs)
}

fn node(jobs: &[Value]) -> Vec<Option<String>> {
    minted("nodejs", "node", &["--input-type=module", "-e", NODE], jobs)
}

/// The URL without the whitespace around it, which is not part of a destination.
fn trimmed(url: &str) -> &str {
    Destination::new(url).expect("a destination").as_str()
}

fn assert_reproduces_vectors(mint: fn(&[Value]) -> Vec<Option<String>>) {
    let all: Value = serde_json::from_str(include_str!("../../crates/linkseal-link/tests/link_vectors.json")).unwrap();
    let vectors = all["vectors"].as_array().unwrap();
    assert!(vectors.len() >= 7);
    for (vector, token) in vectors.iter().zip(mint(vectors)) {
        assert_eq!(token.as_deref(), vector["token"].as_str(), "{vector}");
    }
}

fn assert_minted_tokens_verify(mint: fn(&[Value]) -> Vec<Option<String>>) {
    let secret = "5a".repeat(32);
    let job = |kind: &str, link: u16, destination: &str| {
        json!({"kind": kind, "tenant": "kö x", "key_id": 255, "secret_hex": secret, "issued_at": u32::MAX,
            "message_id_hex": "0192f3a4-b5c6-7d8e-9fa0-b1c2d3e4f506", "link": link, "destination": destination})
    };
    let longest = format!("https://example.com/{}", "ä".repeat(2038));
    let clicks = [
        "https://example.com/a?b=c&d#e",
        "HTTP://Example.COM:8080/%2F",
        "https://bücher.example/日本",
        "https://example.com?q=a@b",
        " \t\r\nhttps://example.com/a b\u{a0}\u{c} ",
        &longest,
    ];
    let mut jobs: Vec<_> = clicks.iter().map(|url| job("click", 65_535, url)).collect();
    jobs.push(job("open", 0, ""));
    jobs.push(job("unsubscribe", 513, ""));
    let keys = LinkKeys::new([LinkKey::from_hex(255, &secret).unwrap()]).unwrap();
    for (job, text) in jobs.iter().zip(mint(&jobs)) {
        let token = Token::decode(&text.unwrap_or_else(|| panic!("{job} was refused"))).unwrap();
        let verified = token.verify(&keys, ["kö x"]).unwrap();
        assert_eq!(verified.issued_at, u32::MAX);
        match verified.body {
            TokenBody::Click { link, destination } => {
                assert_eq!(
                    (json!(link), Some(destination.as_str())),
                    (job["link"].clone(), job["destination"].as_str().map(trimmed))
                );
            }
            TokenBody::Open => assert_eq!(job["kind"], "open"),
            TokenBody::Unsubscribe { list } => assert_eq!(json!(list), job["link"]),
        }
    }
    let too_long = format!("{longest}a");
    let refused = [
        "",
        "example.com",
        "javascript:alert(1)",
        "https://user:pw@example.com/",
        "https://good.example\\@evil.example/",
        "https://example.com/\r\nX: y",
        "https://",
        &too_long,
    ];
    let jobs: Vec<_> = refused.iter().map(|url| job("click", 0, url)).collect();
    for (job, token) in jobs.iter().zip(mint(&jobs)) {
        assert_eq!(token, None, "{job}");
    }
}

#[test]
fn python_reproduces_every_vector() {
    assert_reproduces_vectors(python);
}

#[test]
fn tokens_minted_in_python_verify() {
    assert_minted_tokens_verify(python);
}

#[test]
fn node_reproduces_every_vector() {
    assert_reproduces_vectors(node);
}

#[test]
fn tokens_minted_in_node_verify() {
    assert_minted_tokens_verify(node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_minted_by_snippets_work_on_a_running_edge() {
    let world = World::start().await;
    let (name, destination) = (
        "links.minted.test",
        "https://example.com/a/b?utm_source=news&x=%2F#frag",
    );
    world.edge.register(name).await;
    let job = |kind: &str| {
        json!({"kind": kind, "tenant": name, "key_id": 1, "secret_hex": LINK_SECRET,
            "issued_at": world.clock.now().as_secs(), "message_id_hex": "0192f3a4b5c67d8e9fa0b1c2d3e4f506",
            "link": 3, "destination": destination})
    };
    let jobs = [job("open"), job("click"), job("unsubscribe")];
    for mint in [python, node] {
        let tokens: Vec<String> = mint(&jobs).into_iter().map(|t| t.expect("minted")).collect();
        let [open, click, unsubscribe] = tokens.as_slice() else {
            panic!("three tokens: {tokens:?}")
        };
        let answer = world.fetch(name, &format!("/o/{open}")).await.expect("an answer");
        assert_eq!((answer.status, answer.body.len()), (200, 43));
        let answer = world.fetch(name, &format!("/c/{click}")).await.expect("an answer");
        assert_eq!((answer.status, answer.header("location")), (302, Some(destination)));
        let answer = world
            .fetch(name, &format!("/u/{unsubscribe}"))
            .await
            .expect("an answer");
        assert_eq!(answer.status, 200);
    }
}
