//! The command line of the real binary.

mod demo;
mod domain;
mod offline;
mod store;

use std::path::Path;
use std::process::Output;

use crate::support::process::run;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The standard output of a command, which must have succeeded.
fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    text(&output.stdout)
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn usage_errors_exit_with_64_and_a_message() {
    for arguments in [
        &["serve", "--nonsense"][..],
        &["fly"],
        &[],
        &[
            "link",
            "click",
            "--key-file",
            "/nowhere",
            "--base",
            "https://a.example",
            "--url",
            "ftp://x",
        ],
        &["config", "check", "/nowhere/linkseal.toml"],
        &["simulate", "--limits", "orders_per_account = \"many\""],
        &["simulate", "--order-time", "0s"],
        &["simulate", "--config", "/nowhere/linkseal.toml"],
    ] {
        let output = run(arguments);
        assert_eq!(
            output.status.code(),
            Some(64),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}");
    }
    assert!(stdout(&run(&["--version"])).starts_with("linkseal "));
    assert!(stdout(&run(&["--help"])).contains("demo"));
}
