#!/usr/bin/env bash
# Compares linkseal with the bare hyper server and with nginx: CPU time of each server's own processes
# per request or connection. Prints a table like those in ../README.md.
#
#   benches/peers/run.sh                      everything (about 15 minutes in addition to the builds)
#   benches/peers/run.sh handshake keepalive  some of: handshake keepalive memory domains issue
#   ROUNDS=3 DOMAINS=1000000 benches/peers/run.sh domains
#
# Every server runs on core 0 with one worker, the client on core 1, over loopback. All serve the same
# ECDSA P-256 certificate, get the same requests over TLS 1.3 (X25519, AES-128-GCM) and are measured in
# turns. The script stops at any unexpected response.
set -euo pipefail
cd "$(dirname "$0")/../.."

ROUNDS=${ROUNDS:-5}                # turns per measure, of which the median counts
HANDSHAKES=${HANDSHAKES:-4000}     # connections per turn: about a second of CPU time
REQUESTS=${REQUESTS:-60000}        # keep-alive requests per turn: about a second of CPU time
IDLE=${IDLE:-2000}                 # idle connections
DOMAINS=${DOMAINS:-100000}         # registered domains, compared with 10
PORT=${PORT:-18080}                # the lowest port
PROFILE=${PROFILE:-dist}           # `dev` is only for testing this script
PARTS=${*:-handshake keepalive memory domains issue}
SERVER_CORE=0
CLIENT_CORE=1
NAME=links.acme.localhost
AGENT='Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36'

say() { printf '\n## %s\n' "$*" >&2; }
die() { printf 'run.sh: %s\n' "$*" >&2; exit 1; }

[ "$(nproc)" -ge 2 ] || die "needs two cores: one for the server, one for the client"
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"

# --- requirements --------------------------------------------------------------------------------

missing=()
command -v nginx >/dev/null || missing+=(nginx-light)
command -v h2load >/dev/null || missing+=(nghttp2-client)
command -v pebble >/dev/null || missing+=(pebble)
command -v taskset >/dev/null || missing+=(util-linux)
if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get install -y --no-install-recommends "${missing[@]}" >&2 ||
        { $sudo apt-get update >&2 && $sudo apt-get install -y --no-install-recommends "${missing[@]}" >&2; }
fi

if [ -z "${LINKSEAL:-}" ]; then # else LINKSEAL BARE LOAD PREPARE ISSUE name the programs
    say "building (profile $PROFILE)"
    # One call builds the benches and the binary; separate calls would build everything twice.
    built=$(cargo bench --profile "$PROFILE" --no-run --bench bare --bench load --bench prepare --bench issue 2>&1 |
        tee /dev/stderr)
    executable() { sed -n "s/^ *Executable benches.$1.rs (\(.*\))\$/\1/p" <<<"$built"; }
    LINKSEAL=target/${PROFILE/#dev/debug}/linkseal
    BARE=$(executable bare) LOAD=$(executable load) PREPARE=$(executable prepare) ISSUE=$(executable issue)
fi

work=$(mktemp -d "$PWD/target/peers.XXXXXX")
results=$work/results
: >"$results"
pids=()
stop_all() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    pids=()
}
trap 'stop_all; [ -n "${KEEP:-}" ] || rm -rf "$work"' EXIT

# --- helpers -------------------------------------------------------------------------------------

client() { taskset -c "$CLIENT_CORE" "$@"; }
record() { printf '%s\t%s\t%s\n' "$1" "$2" "$3" | tee -a "$results" >&2; }
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
# CPU time of processes in microseconds; a tick is 10 ms.
cpu() {
    local sum=0 stat
    for pid in ${1//,/ }; do
        stat=$(<"/proc/$pid/stat")
        # shellcheck disable=SC2086
        set -- ${stat##*) }
        sum=$((sum + ${12} + ${13}))
    done
    echo $((sum * 10000))
}
rss_mib() { awk '/^VmRSS/ {printf "%.0f", $2 / 1024}' "/proc/$1/status"; }

# --- the servers: each sets ADDR_name and PIDS_name ----------------------------------------------

declare -A ADDR PIDS

start_linkseal() { # start_linkseal VARIANT DIR FIRST_PORT
    ADDR[$1]=127.0.0.1:$(($3 + 1))
    LINKSEAL_LISTEN__HTTP="[\"127.0.0.1:$3\"]" LINKSEAL_LISTEN__HTTPS="[\"${ADDR[$1]}\"]" \
        LINKSEAL_LISTEN__ADMIN="[\"127.0.0.1:$(($3 + 2))\"]" \
        taskset -c "$SERVER_CORE" "$LINKSEAL" serve --config "$2/linkseal.toml" >"$work/$1.log" 2>&1 &
    PIDS[$1]=$!
    pids+=($!)
}

start_bare() {
    ADDR[bare]=127.0.0.1:$((PORT + 20))
    taskset -c "$SERVER_CORE" "$BARE" --listen "${ADDR[bare]}" --cert "$work/cert/chain.pem" \
        --key "$work/cert/key.pem" >"$work/bare.log" 2>&1 &
    PIDS[bare]=$!
    pids+=($!)
}

start_nginx() { # start_nginx VARIANT PORT ACCESS_LOG
    ADDR[$1]=127.0.0.1:$2
    mkdir -p "$work/$1"
    cat >"$work/$1/nginx.conf" <<NGINX
daemon off; worker_processes 1; pid $work/$1/pid; error_log $work/$1/error.log;
worker_rlimit_nofile 65536;
events { worker_connections 16384; }
http {
    access_log $3;
    keepalive_requests 1000000000; keepalive_timeout 75s; server_tokens off;
    client_body_temp_path $work/$1; proxy_temp_path $work/$1; fastcgi_temp_path $work/$1;
    uwsgi_temp_path $work/$1; scgi_temp_path $work/$1;
    server {
        listen ${ADDR[$1]} ssl http2 backlog=4096;
        server_name $NAME;
        ssl_certificate $work/cert/chain.pem; ssl_certificate_key $work/cert/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on; ssl_session_cache off;
        location /o/ { add_header Cache-Control no-store; empty_gif; }
        location /c/ { add_header Cache-Control no-store; return 302 https://example.com/welcome?utm_source=demo; }
    }
}
NGINX
    taskset -c "$SERVER_CORE" nginx -e "$work/$1/error.log" -c "$work/$1/nginx.conf" >"$work/$1.log" 2>&1 &
    local master=$!
    pids+=("$master")
    until PIDS[$1]=$(pgrep -P "$master"); do
        kill -0 "$master" || die "nginx: $(cat "$work/$1/error.log" "$work/$1.log")"
        sleep 0.05
    done
}

# --- one measurement -----------------------------------------------------------------------------

tls() { # tls MODE COUNT VARIANT [NAME PATH]: prints what load prints
    client "$LOAD" "$1" --addr "${ADDR[$3]}" --name "${4:-$NAME}" --ca "$work/demo/ca.pem" --path "${5:-$OPEN}" \
        --count "$2" --pids "${PIDS[$3]}" 2>>"$work/load.log"
}

handshakes() { # handshakes full|resumed VARIANT MEASURE
    record "$1 handshake + one open$3" "$2" "$(tls "$1" "$HANDSHAKES" "$2")"
}

requests() { # requests MEASURE VARIANT PATH STATUS h2load-options…
    local measure=$1 variant=$2 path=$3 status=$4 before after out
    shift 4
    before=$(cpu "${PIDS[$variant]}")
    out=$(client h2load -n "$REQUESTS" -t 1 "$@" -H "user-agent: $AGENT" \
        --connect-to="${ADDR[$variant]}" "https://$NAME:${ADDR[$variant]#*:}$path")
    # Time to deliver the events, which is part of the server's cost.
    sleep 1
    after=$(cpu "${PIDS[$variant]}")
    grep -q "status codes:.* $REQUESTS $status" <<<"$out" ||
        die "$variant, $measure: expected $REQUESTS responses with $status: $(grep -E 'status codes|errored' <<<"$out")"
    record "$measure" "$variant" "$(awk "BEGIN {printf \"%.2f\", ($after - $before) / $REQUESTS}")"
}

# --- the directory of a demo, with issued certificates -------------------------------------------

say "setting up: a demo issues the certificate that all servers use"
mkdir -p "$work/cert"
"$LINKSEAL" demo --dir "$work/demo" --port-base "$PORT" --json >"$work/demo.json" 2>"$work/demo.log" &
demo=$!
pids+=("$demo")
until [ -s "$work/demo.json" ]; do
    kill -0 "$demo" || die "the demo has exited: $(cat "$work/demo.log")"
    sleep 0.05
done
path_of() { field "$1" <"$work/demo.json" | sed 's|^https://[^/]*||'; }
OPEN=$(path_of open_url) CLICK=$(path_of click_url)
ADDR[demo]=$(field https <"$work/demo.json" | sed 's|.*//||') PIDS[demo]=$demo
tls first 1 demo >/dev/null
tls first 1 demo track.localhost /healthz >/dev/null
kill "$demo"
wait "$demo" || die "the demo failed: $(cat "$work/demo.log")"
pids=()
"$PREPARE" export "$work/demo" "$NAME" "$work/cert"
"$PREPARE" domains "$work/demo" 10
case $PARTS in *domains*)
    say "registering $DOMAINS domains"
    cp -r "$work/demo" "$work/many"
    time "$PREPARE" domains "$work/many" "$DOMAINS"
    ;;
esac

# --- the parts -----------------------------------------------------------------------------------

start_four() {
    start_linkseal linkseal "$work/demo" "$PORT"
    start_bare
    start_nginx nginx $((PORT + 30)) off
    start_nginx nginx+log $((PORT + 40)) "$work/access.log combined"
    for variant in linkseal bare nginx nginx+log; do tls first 1 "$variant" >/dev/null; done
}

for part in $PARTS; do
    say "$part"
    case $part in
    handshake)
        start_four
        for _ in $(seq "$ROUNDS"); do
            for mode in full resumed; do
                for variant in linkseal bare nginx; do handshakes "$mode" "$variant" ", µs"; done
            done
        done
        ;;
    keepalive)
        start_four
        for _ in $(seq "$ROUNDS"); do
            for variant in linkseal bare nginx nginx+log; do
                requests "open, HTTP/1.1, µs" "$variant" "$OPEN" 2xx --h1 -c 32
                requests "click, HTTP/1.1, µs" "$variant" "$CLICK" 3xx --h1 -c 32
                requests "open, HTTP/2, µs" "$variant" "$OPEN" 2xx -c 16 -m 10
            done
        done
        ;;
    memory)
        for _ in $(seq "$ROUNDS"); do
            start_four
            for variant in linkseal bare nginx; do
                record "idle connection, KiB" "$variant" "$(tls idle "$IDLE" "$variant")"
            done
            stop_all
        done
        ;;
    domains)
        start_linkseal "10 domains" "$work/demo" "$PORT"
        start_linkseal "$DOMAINS domains" "$work/many" $((PORT + 10))
        for variant in "10 domains" "$DOMAINS domains"; do tls first 1 "$variant" >/dev/null; done
        until grep -q 'all domains loaded' "$work/$DOMAINS domains.log"; do sleep 0.1; done
        for _ in $(seq "$ROUNDS"); do
            for mode in full resumed; do
                for variant in "10 domains" "$DOMAINS domains"; do
                    handshakes "$mode" "$variant" ", domains registered, µs"
                done
            done
        done
        stop_all
        for _ in $(seq "$ROUNDS"); do
            start_linkseal many "$work/many" $((PORT + 10))
            record "start to first handshake, ms" "$DOMAINS domains" "$(tls first 1 many)"
            until grep -q 'all domains loaded' "$work/many.log"; do sleep 0.1; done
            record "memory when loaded, MiB" "$DOMAINS domains" "$(rss_mib "${PIDS[many]}")"
            stop_all
        done
        ;;
    issue)
        for _ in $(seq "$ROUNDS"); do
            out=$("$ISSUE" --domains 100 --pebble "$(command -v pebble)")
            echo "$out" >&2
            record "100 domains at Pebble, s" linkseal "$(sed 's/.*issued in \([0-9.]*\) s.*/\1/' <<<"$out")"
        done
        ;;
    *) die "unknown part: $part" ;;
    esac
    stop_all
done

# --- the table: median (min–max) of each measure, and the ratio to the first server ----------------

say "results ($(date -u +%F), $(nproc) cores, $(sed -n 's/^model name.*: //p;T;q' /proc/cpuinfo), $ROUNDS turns)"
awk -F '\t' '
    { key = $1 FS $2; n[key]++; v[key, n[key]] = $3; if (n[key] == 1) order[++keys] = key }
    function median(key,   i, j, t) {
        for (i = 2; i <= n[key]; i++)
            for (j = i; j > 1 && v[key, j - 1] + 0 > v[key, j] + 0; j--) { t = v[key, j]; v[key, j] = v[key, j - 1]; v[key, j - 1] = t }
        return n[key] % 2 ? v[key, (n[key] + 1) / 2] : (v[key, n[key] / 2] + v[key, n[key] / 2 + 1]) / 2
    }
    END {
        print "| measure | server | median | min–max | first ÷ it |"
        print "|---|---|---|---|---|"
        for (k = 1; k <= keys; k++) { split(order[k], p, FS); m[order[k]] = median(order[k]) }
        for (k = 1; k <= keys; k++) { split(order[k], p, FS); if (!(p[1] in seen)) { seen[p[1]]; kinds[++count] = p[1] } }
        for (c = 1; c <= count; c++) for (k = 1; k <= keys; k++) {
            key = order[k]; split(key, p, FS); if (p[1] != kinds[c]) continue
            own = p[1] FS "linkseal"
            if (p[1] ~ /domains registered/ && p[2] != "10 domains") own = p[1] FS "10 domains"
            ratio = (own in m && own != key && m[key] > 0) ? sprintf("%.2f", m[own] / m[key]) : ""
            printf "| %s | %s | %s | %s–%s | %s |\n", p[1], p[2], m[key], v[key, 1], v[key, n[key]], ratio
        }
    }' "$results"
