#!/usr/bin/env bash
# Three nodes of linkseal on one PostgreSQL, behind HAProxy, with Pebble as the CA, on this machine only: a certificate
# that one node orders is served by all; then a node is killed, then the database, and links go on.
#
#   apt-get install postgresql-15 haproxy pebble curl openssl
#   cargo build && LINKSEAL=target/debug/linkseal examples/fleet/run.sh
#
# Runs as an ordinary user, or as root (PostgreSQL then runs as `postgres`). Everything is in a temporary directory and
# on free ports of 127.0.0.1, and ends with the script. KEEP=1 keeps the directory; KILL_DATABASE=0 leaves out the
# database's end; RESTART_WITHOUT_DATABASE=1 also restarts a node while the database is down.
set -euo pipefail

linkseal="$(realpath "${LINKSEAL:-linkseal}" 2>/dev/null || command -v linkseal)"
export PATH="$PATH:/usr/sbin:/usr/lib/postgresql/15/bin"
for program in "$linkseal" initdb haproxy pebble pebble-challtestsrv curl openssl; do
  command -v "$program" >/dev/null || { echo "$program is missing" >&2; exit 1; }
done

dir="$(mktemp -d)"
chmod 711 "$dir"
pids=()
declare -A pid_of
clean_up() {
  local status=$?
  if [ "$status" != 0 ]; then tail -n 5 "$dir"/*.log >&2; fi
  [ "${#pids[@]}" = 0 ] || kill "${pids[@]}" 2>/dev/null || true
  [ ! -e "$dir/database/postmaster.pid" ] || kill -INT "$(head -n 1 "$dir/database/postmaster.pid")" 2>/dev/null || true
  wait
  [ "${KEEP:-0}" = 1 ] && echo "kept: $dir" || rm -rf "$dir"
}
trap clean_up EXIT

# --- helpers ---------------------------------------------------------------------------------------------------------

say() { printf '\n== %s\n' "$*"; }

# A program in the background, with a log: start NAME COMMAND...
start() {
  local name="$1"
  shift
  "$@" >>"$dir/$name.log" 2>&1 </dev/null &
  pid_of[$name]=$!
  pids+=("$!")
}

# Repeats a command until it succeeds, for 20 s at most: until_ok WHAT COMMAND...
until_ok() {
  local what="$1" try
  shift
  for try in $(seq 200); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  echo "not within 20 s: $what" >&2
  exit 1
}

# PostgreSQL refuses to run as root.
as_postgres() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }

# Ports above those that the kernel gives to clients, so that nothing takes them meanwhile.
base=$((61000 + $$ % 400 * 10))
database_port=$base pebble_port=$((base + 1)) roots_port=$((base + 2)) dns_port=$((base + 3)) dns_api=$((base + 4))
http_port=$((base + 5)) https_port=$((base + 6))
node_port() { # NODE KIND
  case "$2" in http) echo $((20000 + base % 4000 + $1)) ;; https) echo $((24100 + base % 4000 + $1)) ;;
    admin) echo $((28200 + base % 4000 + $1)) ;; esac
}

# --- the peers -------------------------------------------------------------------------------------------------------

start_database() {
  mkdir "$dir/database"
  [ "$(id -u)" != 0 ] || chown postgres "$dir/database"
  as_postgres initdb --auth=trust --username=linkseal --no-sync --pgdata="$dir/database" >/dev/null
  start postgres as_postgres postgres -D "$dir/database" -p "$database_port" -c listen_addresses=127.0.0.1 \
    -c unix_socket_directories='' -c shared_buffers=16MB
  until_ok "PostgreSQL answers" pg_isready -q -h 127.0.0.1 -p "$database_port"
  createdb -h 127.0.0.1 -p "$database_port" -U linkseal linkseal
}

# The CA validates through HAProxy: a challenge may reach any node.
start_ca() {
  # The certificate of Pebble's own API: with Debian's defaults it would be that of a CA.
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -config <(printf '[req]\ndistinguished_name = dn\n[dn]\n') -addext basicConstraints=critical,CA:FALSE \
    -addext subjectAltName=DNS:localhost -keyout "$dir/pebble.key" -out "$dir/pebble.pem" 2>/dev/null
  cat >"$dir/pebble.json" <<JSON
{"pebble": {"listenAddress": "127.0.0.1:$pebble_port", "managementListenAddress": "127.0.0.1:$roots_port",
 "certificate": "$dir/pebble.pem", "privateKey": "$dir/pebble.key", "httpPort": $http_port, "tlsPort": $https_port}}
JSON
  start dns pebble-challtestsrv -dns01 "127.0.0.1:$dns_port" -management "127.0.0.1:$dns_api" -http01 "" -https01 "" \
    -tlsalpn01 "" -defaultIPv4 127.0.0.1 -defaultIPv6 ""
  PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=0 start pebble pebble -config "$dir/pebble.json" \
    -dnsserver "127.0.0.1:$dns_port"
  until_ok "Pebble answers" curl -sf --cacert "$dir/pebble.pem" "https://localhost:$roots_port/roots/0" -o "$dir/root.pem"
  # The customer's CNAME record.
  until_ok "the DNS server answers" curl -sf "http://127.0.0.1:$dns_api/set-cname" \
    -d '{"host": "links.customer.test.", "target": "track.platform.test."}'
}

start_balancer() {
  {
    printf 'defaults\n mode tcp\n option httpchk GET /readyz\n option redispatch\n timeout connect 2s\n'
    printf ' timeout client 60s\n timeout server 60s\n timeout check 2s\n'
    for kind in http https; do
      local port="${kind}_port"
      printf 'listen %s\n bind 127.0.0.1:%s\n source 127.0.0.2\n' "$kind" "${!port}"
      for node in 1 2 3; do
        printf ' server node-%s 127.0.0.1:%s send-proxy-v2 check inter 200ms fall 2 rise 1 port %s\n' \
          "$node" "$(node_port "$node" "$kind")" "$(node_port "$node" admin)"
      done
    done
  } >"$dir/haproxy.cfg"
  start haproxy haproxy -db -f "$dir/haproxy.cfg"
}

# --- the nodes -------------------------------------------------------------------------------------------------------

# What differs between nodes: their name, their ports, their directory.
configure_node() {
  mkdir "$dir/node-$1"
  cat >"$dir/node-$1/linkseal.toml" <<TOML
[listen]
http = ["127.0.0.1:$(node_port "$1" http)"]
https = ["127.0.0.1:$(node_port "$1" https)"]
admin = ["127.0.0.1:$(node_port "$1" admin)"]
proxy_protocol_from = ["127.0.0.2/32"]   # HAProxy
[edge]
name = "track.platform.test"
addresses = ["127.0.0.1"]
node = "node-$1"
drain_delay = "1s"                       # HAProxy notices within 0.4 s that a node is not ready
probe_interval = "off"                   # there is no port 443 here
[store]
url = "postgres://linkseal@127.0.0.1:$database_port/linkseal"
key_file = "$dir/sealing.key"            # the same on every node
copy_dir = "copy"                        # this node's own
[acme]
directory = "https://localhost:$pebble_port/dir"
ca_file = "$dir/pebble.pem"
accept_terms = true
issue = "on_register"
preflight = false                        # there is no port 80 here
[links]
keys = [{ id = 1, secret_file = "$dir/link.key" }]
[events]
dir = "events"
[[events.sink]]
name = "archive"
kind = "file"
path = "delivered.ndjson"
[dns]
resolvers = ["127.0.0.1:$dns_port"]
TOML
}

start_node() {
  start "node-$1" "$linkseal" serve --config "$dir/node-$1/linkseal.toml"
  until_ok "node $1 is ready" curl -sf "http://127.0.0.1:$(node_port "$1" admin)/readyz"
}

# The serial number of the certificate that a port serves: serial PORT
serial() {
  openssl s_client -connect "127.0.0.1:$1" -servername links.customer.test </dev/null 2>/dev/null |
    openssl x509 -noout -serial
}

is_issued() { "$linkseal" domain show links.customer.test --json --admin "$1" | grep -q '"state": *"issued"'; }

# Clicks through HAProxy, each over a connection of its own: clicks NUMBER
clicks() {
  local link good=0 i
  for i in $(seq "$1"); do
    link="$("$linkseal" link click --key-file "$dir/link.key" --base https://links.customer.test \
      --url https://shop.example/sale)"
    # A connection that was on its way to a node as it died is repeated, as browsers do.
    if curl -s --retry 1 --retry-all-errors --max-time 5 --cacert "$dir/root.pem" -o /dev/null -w '%{redirect_url}\n' \
      --connect-to "links.customer.test:443:127.0.0.1:$https_port" "$link" | grep -qx https://shop.example/sale; then
      good=$((good + 1))
    fi
  done
  echo "$good of $1 clicks were redirected"
  [ "$good" = "$1" ]
}

# --- the demonstration -----------------------------------------------------------------------------------------------

say "PostgreSQL, Pebble, HAProxy and three nodes start"
(umask 077; "$linkseal" link keygen >"$dir/link.key"; openssl rand -hex 32 >"$dir/sealing.key")
start_database
start_ca
start_balancer
for node in 1 2 3; do configure_node "$node"; done
for node in 1 2 3; do start_node "$node"; echo "node-$node is ready"; done

say "a domain is registered on node-1"
admin="http://127.0.0.1:$(node_port 1 admin)"
"$linkseal" domain add links.customer.test --admin "$admin"
until_ok "the certificate is issued" is_issued "$admin"

say "its certificate is served by all nodes"
until_ok "HAProxy serves it" serial "$https_port"
for node in 1 2 3; do
  # Directly: a node requires the PROXY protocol from HAProxy's address only.
  echo "node-$node: $(serial "$(node_port "$node" https)")"
done
clicks 6

say "node-1 is killed; links go on"
kill -KILL "${pid_of[node-1]}"
wait "${pid_of[node-1]}" 2>/dev/null || true
clicks 12

say "node-1 comes back at once, with its own directory"
start_node 1
clicks 6

if [ "${KILL_DATABASE:-1}" = 1 ]; then
  say "the database is killed; links go on"
  kill -QUIT "$(head -n 1 "$dir/database/postmaster.pid")"
  clicks 12
  if [ "${RESTART_WITHOUT_DATABASE:-0}" = 1 ]; then
    say "a node is killed and starts while the database is down; links go on"
    kill -KILL "${pid_of[node-2]}"
    wait "${pid_of[node-2]}" 2>/dev/null || true
    start_node 2
    clicks 6
  fi
fi

say "the clicks that the nodes' event sinks have received"
clicked=$((6 + 12 + 6))
[ "${KILL_DATABASE:-1}" != 1 ] || clicked=$((clicked + 12 + ${RESTART_WITHOUT_DATABASE:-0} * 6))
delivered() { cat "$dir"/node-*/delivered.ndjson | grep -c '"type":"click"'; }
all_delivered() { [ "$(delivered)" -ge "$clicked" ]; }
until_ok "every click is delivered" all_delivered
delivered
