# Shortcuts: each recipe is one command that works without `just`.

# List the recipes.
default:
    @just --list

# What CI runs: format, lints, documentation, all tests, cost of a request, dependencies.
ci:
    .ci/run

# The whole edge on loopback with an ACME CA in process (README).
demo *args:
    cargo run -- demo {{args}}

# All tests, after installing the real peers; arguments go to the test runner.
test *args:
    tests/run.sh {{args}}

# Unit tests of every crate: no peers needed.
unit *args:
    cargo test --locked --workspace --lib {{args}}

# Integration tests, once `tests/run.sh` has installed the peers: `just it issuance`.
it *args:
    cargo test --locked --test it {{args}}

# Format everything.
fmt:
    cargo fmt --all

# Lints, as CI runs them.
lint:
    cargo clippy --locked --workspace --all-targets -- -D warnings

# Rustdoc of the libraries; broken links are errors.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --lib

# Licences, banned crates, sources, advisories.
deps:
    tests/check-dependencies.sh

# Cost beside a bare hyper server, nginx, HAProxy and Caddy: `just bench handshake kept` (benches/README.md).
bench *parts:
    benches/peers/run.sh {{parts}}

# Whether a request has become much more expensive than one of a bare hyper server, as CI looks at it.
bench-smoke:
    benches/peers/smoke.sh

# Parts of a request: name look-up, router, token, verdict, encoding, recording.
hot-path *args:
    cargo bench --bench hot_path {{args}}

# The measurements that are kept as ignored tests: `just measure journal`.
measure name:
    cargo test --release --workspace --lib {{name}} -- --ignored --nocapture

# The pictures in docs/screenshots.
screenshots:
    PAGES_SCREENSHOTS="$PWD/docs/screenshots" cargo test --locked --test it pages

# The plot in docs/capacity.md.
simulate:
    cargo run --release -- simulate --domains 100000 --lifetime 45d --months 6 --svg docs/simulate-45d.svg

# An example of a configuration, with every key and its default.
config-example:
    cargo run -- config example

# Fuzz links and tokens (needs cargo-fuzz and a nightly toolchain).
fuzz *args:
    cargo +nightly fuzz run token {{args}}

# The binary for production.
dist:
    LINKSEAL_COMMIT="$(git rev-parse --short HEAD)" cargo build --locked --profile dist --no-default-features
