//! `examples/fleet/run.sh`, which an operator would try first.

use std::path::Path;
use std::process::Command;

#[test]
fn the_example_shows_what_it_says() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fleet/run.sh");
    let output = Command::new("timeout")
        .args(["120", "bash"])
        .arg(script)
        .env("LINKSEAL", env!("CARGO_BIN_EXE_linkseal"))
        .output()
        .expect("bash");
    let (said, failed) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}\n{failed}");
    let serials: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split_once("serial="))
        .map(|(_, s)| s)
        .collect();
    assert_eq!(serials.len(), 3, "{said}");
    assert!(serials.iter().all(|serial| *serial == serials[0]), "{said}");
}
