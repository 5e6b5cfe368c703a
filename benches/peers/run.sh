#!/usr/bin/env bash
# Compares linkseal with the bare hyper server, nginx, HAProxy and Caddy, and prints the tables of ../README.md,
# which also says how it measures.
#
#   benches/peers/run.sh                      everything (about 15 minutes in addition to the builds)
#   benches/peers/run.sh handshake kept       some of: handshake kept streams lone memory domains tail issue
#   ROUNDS=5 DOMAINS=1000000 benches/peers/run.sh domains
#   LINKSEAL=… BARE=… LOAD=… PREPARE=… ISSUE=… benches/peers/run.sh     with programs that are built already
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=benches/peers/lib.sh
. benches/peers/lib.sh

ROUNDS=${ROUNDS:-3}                # turns per measure, of which the median counts
SECONDS_EACH=${SECONDS_EACH:-2}    # length of a turn
IDLE=${IDLE:-2000}                 # idle connections
DOMAINS=${DOMAINS:-100000}         # registered domains in `domains` and `tail`
IMPORT=${IMPORT:-20000}            # domains of each of three imports at once in `tail`
SLOW_DISK=${SLOW_DISK:-100}        # writes per second of the slow disk in `tail`
SLOW_IMPORT=${SLOW_IMPORT:-2000}   # domains of each of three imports at once on it
PROFILE=${PROFILE:-dist}           # `dev` is only for testing this script
SERVERS=${SERVERS:-linkseal bare nginx nginx+log HAProxy Caddy}
read -ra PARTS <<<"${*:-handshake kept streams lone memory domains tail issue}"

[ "$(nproc)" -ge 2 ] || die "needs two cores: one for the server, one for the client"
require nginx:nginx-light haproxy:haproxy pebble:pebble taskset:util-linux curl:curl
require_caddy
given=${LINKSEAL:+ (the programs were given to it)}
build "$PROFILE" bare load prepare issue
make_work_directory
results=$work/results
: >"$results"

record() { printf '%s\t%s\t%s\t%s\n' "$@" | tee -a "$results" >&2; } # record TABLE ROW COLUMN VALUE

start_servers() {
    local server
    for server in $SERVERS; do
        case $server in
        linkseal) start_linkseal linkseal "$work/demo" "$PORT" "$SERVER_CORE" ;;
        bare) start_bare "$SERVER_CORE" ;;
        nginx) start_nginx nginx $((PORT + 30)) off ;;
        nginx+log) start_nginx nginx+log $((PORT + 40)) "$work/access.log combined" ;;
        HAProxy) start_haproxy ;;
        Caddy) start_caddy ;;
        *) die "unknown server: $server" ;;
        esac
    done
    for server in $SERVERS; do load "$CLIENT_CORE" "$server" first open >/dev/null; done
}

# measure ROW MODE open|click: one turn of each server
measure() {
    local server
    for server in $SERVERS; do
        turn "$server" "$2" "$3" --seconds "$SECONDS_EACH"
        record cost "$1" "$server" "$(value us "$RESULT")"
        if [ "$server" = linkseal ] && [ "$2 $3" = "kept open" ]; then
            record cost "of it, delivery of an event, µs" linkseal "$(value delivery_us "$RESULT")"
        fi
    done
}

# --- many domains ---------------------------------------------------------------------------------------

register_domains() {
    [ ! -e "$work/many" ] || return 0
    say "registering $DOMAINS domains"
    cp -r "$work/demo" "$work/many"
    time "$PREPARE" domains "$work/many" "$DOMAINS"
}

start_many() { # start_many CORES [PROGRAM_THAT_BECOMES_IT…]
    start_linkseal many "$work/many" $((PORT + 10)) "$@"
}

loaded() { until grep -q 'all domains loaded' "$work/many.log"; do sleep 0.01; done; }

domains() {
    local begun first
    begun=$(date +%s%N)
    start_many "$SERVER_CORE"
    first=$(load "$CLIENT_CORE" many first open)
    record cost "$DOMAINS domains: start to first handshake, ms" linkseal "$(value ms "$first")"
    loaded
    record cost "$DOMAINS domains: start to all loaded, s" linkseal \
        "$(awk "BEGIN { printf \"%.2f\", ($(date +%s%N) - $begun) / 1e9 }")"
    sleep 4 # as for idle connections: memory settles
    record cost "$DOMAINS domains: memory (PSS), MiB" linkseal \
        "$(awk '/^Pss:/ { printf "%.0f", $2 / 1024 }' "/proc/${PIDS[many]}/smaps_rollup")"
    turn many full open --seconds "$SECONDS_EACH"
    record cost "$DOMAINS domains: full handshake + open, µs" linkseal "$(value us "$RESULT")"
    stop_all
}

# --- the tail -------------------------------------------------------------------------------------------

imports=0
import() { # import COUNT FILE: three imports at once, then makes FILE
    local n job jobs=()
    for n in 1 2 3; do
        seq -f '{"name":"links.import-'"$imports-$n"'-%.0f.example"}' "$1" >"$work/import.$n"
        curl -sS --fail-with-body -T "$work/import.$n" -X POST -H "Authorization: Bearer $(<"$work/many/admin.token")" \
            "http://127.0.0.1:$((PORT + 12))/v1/domains/import" -o "$work/imported.$n" &
        jobs+=("$!")
    done
    for job in "${jobs[@]}"; do wait "$job" || printf 'an import failed\n' >&2; done
    touch "$2"
}

tail_of() { # tail_of ROW VARIANT OPTIONS…: p50, p99 and max of the time of two clients
    local row=$1 line key
    shift
    line=$(load 0,1 "$1" tail open "${@:2}")
    for key in p50 p99 max; do
        record tail "$row" "$key" "$(awk "BEGIN { printf \"%.2f\", $(value "$key" "$line") / 1000 }")"
    done
    record tail "$row" requests "$(value count "$line")"
}

tail_during_imports() { # tail_during_imports COUNT ROW
    local end=$work/imported
    rm -f "$end"
    imports=$((imports + 1))
    import "$1" "$end" &
    tail_of "$2" many --until "$end"
    wait "$!"
    [ "$(cat "$work"/imported.[123] | grep -c '"result":"created"')" = $((3 * $1)) ] ||
        die "imports: $(cut -c 1-200 "$work"/imported.[123] | grep -v '"result":"created"' | head -n 5)"
}

tails() {
    start_bare 0,1
    load 0,1 bare first open >/dev/null
    tail_of "bare" bare --seconds 5
    stop_all
    start_many 0,1
    load 0,1 many first open >/dev/null
    loaded
    tail_of "linkseal" many --seconds 5
    tail_during_imports "$IMPORT" "linkseal, 3 × $IMPORT domains are being imported"
    stop_all
    make_slow_disk "$SLOW_DISK"
    if [ -z "$slow_disk" ]; then
        say "no slow disk: it needs root, and control groups with blkio or io"
        return
    fi
    start_many 0,1 on_slow_disk
    load 0,1 many first open >/dev/null
    loaded
    tail_of "linkseal, disk of $SLOW_DISK writes per second" many --seconds 5
    tail_during_imports "$SLOW_IMPORT" "linkseal, disk of $SLOW_DISK writes per second, 3 × $SLOW_IMPORT domains are being imported"
    stop_all
    end_slow_disk
}

# --- the parts --------------------------------------------------------------------------------------------

part() {
    local server
    case $1 in
    handshake)
        start_servers
        for _ in $(seq "$ROUNDS"); do
            measure "full handshake + open, µs" full open
            measure "resumed + open, µs" resumed open
        done
        ;;
    kept)
        start_servers
        for _ in $(seq "$ROUNDS"); do
            measure "open, HTTP/1.1 kept (64), µs" kept open
            measure "click, HTTP/1.1 kept (64), µs" kept click
        done
        ;;
    streams)
        start_servers
        for _ in $(seq "$ROUNDS"); do measure "open, HTTP/2 32 × 10, µs" streams open; done
        ;;
    lone)
        start_servers
        for _ in $(seq "$ROUNDS"); do
            for server in $SERVERS; do
                turn "$server" lone click --seconds "$SECONDS_EACH"
                record cost "lone click, HTTP/1.1 kept: time until the response, p50, µs" "$server" "$(value p50 "$RESULT")"
            done
        done
        ;;
    memory)
        for _ in $(seq "$ROUNDS"); do
            start_servers
            for server in $SERVERS; do
                # Tables of a fixed size, as linkseal's memory for bursts, are in memory before.
                turn "$server" kept open --seconds "$SECONDS_EACH"
                turn "$server" idle open --clients "$IDLE"
                record cost "idle kept TLS connection (PSS), KiB" "$server" "$(value pss_kib "$RESULT")"
            done
            stop_all
        done
        ;;
    domains)
        register_domains
        for _ in $(seq "$ROUNDS"); do domains; done
        ;;
    tail)
        register_domains
        for _ in $(seq "$ROUNDS"); do tails; done
        ;;
    issue)
        for _ in $(seq "$ROUNDS"); do
            "$ISSUE" --domains 100 --pebble "$(command -v pebble)" | tee "$work/issued" >&2
            record cost "100 new domains at Pebble, s" linkseal "$(sed 's/.*issued in \([0-9.]*\) s.*/\1/' "$work/issued")"
        done
        ;;
    *) die "unknown part: $1" ;;
    esac
    stop_all
}

quiet() { calm || { [ "$BUSY" = allow ] && busy=1; } || die "the machine is busy $1; wait, or set BUSY=allow"; }

busy=0
set_up
for name in "${PARTS[@]}"; do
    say "$name"
    quiet "before $name"
    part "$name"
    quiet "after $name"
done

# --- the tables: medians --------------------------------------------------------------------------------

say "results"
if [ "$busy" = 1 ] || [ "$disturbed" -gt 0 ]; then
    printf '**On a busy machine (BUSY=allow): %s of %s turns were disturbed in every try.**\n\n' "$disturbed" "$turns"
fi
versions() {
    "$LINKSEAL" --version
    nginx -v 2>&1 | sed 's|.*nginx/|nginx |'
    haproxy -v | sed -n 's/HAProxy version \([^ ]*\).*/HAProxy \1/p'
    "$CADDY" version | sed 's/^v\([^ ]*\).*/Caddy \1/'
}
printf '%s, commit %s%s, %s cores of %s, Linux %s; %s; %s round(s) of %s s, %s turns, %s repeated because others used the machine' \
    "$(date -u +%F)" "$(git describe --always --dirty --exclude '*')" "$given" "$(nproc)" \
    "$(sed -n 's/^model name.*: //p;T;q' /proc/cpuinfo)" "$(uname -r)" "$(versions | paste -sd , | sed 's/,/, /g')" \
    "$ROUNDS" "$SECONDS_EACH" "$turns" "$repeated"
awk -F '\t' -f benches/peers/tables.awk "$results"
