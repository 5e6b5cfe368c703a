#!/usr/bin/env bash
# Whether a request costs about as much more than one of the bare server as it should: a small run of what run.sh
# measures, for CI. It compares ratios of CPU time, which a busy machine changes little: the two servers are
# measured in turns, the median of the ratios counts, and a row that is too high is measured again before it fails.
#
#   benches/peers/smoke.sh
#   LINKSEAL=… BARE=… LOAD=… PREPARE=… benches/peers/smoke.sh     with programs that are built already
set -euo pipefail
cd "$(dirname "$0")/../.."

# Disturbed turns count: others may run on CI's machine all the time.
BUSY=allow TRIES=1
# shellcheck source=benches/peers/lib.sh
. benches/peers/lib.sh

ROUNDS=${ROUNDS:-3}                # turns of each server, of which the median ratio counts
SECONDS_EACH=${SECONDS_EACH:-1}    # length of a turn
ATTEMPTS=${ATTEMPTS:-3}            # how often a row is measured before it fails
# Not `dev`, that of the tests: without optimization a verdict alone takes 94 µs, and hides everything else.
PROFILE=${PROFILE:-release}
# mode:link:bound:row. A bound is 1.4 times the ratio that was measured when it was set, so that half more work per
# request is seen. A change that makes requests cheaper lowers it.
BOUNDS=(
    'full:open:1.75:full handshake + open'
    'kept:open:2.60:open, HTTP/1.1 kept'
    'kept:click:2.70:click, HTTP/1.1 kept'
    'streams:open:4.00:open, HTTP/2'
)

ratio() { # ratio MODE LINK: the median over ROUNDS of linkseal ÷ bare
    local own
    for _ in $(seq "$ROUNDS"); do
        turn linkseal "$1" "$2" --seconds "$SECONDS_EACH"
        own=$(value us "$RESULT")
        turn bare "$1" "$2" --seconds "$SECONDS_EACH"
        awk "BEGIN { printf \"%.2f\n\", $own / $(value us "$RESULT") }"
    done | sort -n | sed -n "$(((ROUNDS + 1) / 2))p"
}

[ "$(nproc)" -ge 2 ] || die "needs two cores: one for the server, one for the client"
require taskset:util-linux
build "$PROFILE" bare load prepare
make_work_directory
set_up
start_linkseal linkseal "$work/demo" "$PORT" "$SERVER_CORE"
start_bare "$SERVER_CORE"
for server in linkseal bare; do load "$CLIENT_CORE" "$server" first open >/dev/null; done

failed=()
for line in "${BOUNDS[@]}"; do
    IFS=: read -r mode link bound row <<<"$line"
    for attempt in $(seq "$ATTEMPTS"); do
        found=$(ratio "$mode" "$link")
        printf '%s: linkseal takes %s times the CPU time of the bare server (bound: %s)\n' "$row" "$found" "$bound"
        below "$found" "$bound" && continue 2
    done
    failed+=("$row: linkseal takes $found times the CPU time of the bare server, in $attempt attempts never less than the bound of $bound")
done
if [ ${#failed[@]} -gt 0 ]; then
    printf '%s\n' "${failed[@]}" >&2
    die "requests have become more expensive (benches/README.md, \"The smoke run\")"
fi
