#!/usr/bin/env bash
# The Autobahn test suite, groups 1 to 7 (framing, pings, reserved bits, opcodes, fragmentation, UTF-8, closing) and 10:
# every verdict on a WebSocket server through the proxy, over TCP and over TLS, must be the one that it gets without. Two
# servers: the library `websockets`, and the suite's own.
#
# The suite needs Python 2.7. AUTOBAHN_CASES chooses other cases, as a JSON list: ["9.*"] is messages of up to 16 MiB.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib.sh
. tests/lib.sh

readonly HERE=tests/autobahn
readonly SUITE=autobahntestsuite==0.8.2 WEBSOCKETS=websockets==15.0.1
readonly CASES=${AUTOBAHN_CASES:-'["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]'}

python_2() {
  local candidate
  for candidate in python2.7 "$HOME"/.pyenv/versions/2.7*/bin/python2.7; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

# Installs both beside each other, once.
install() {
  python=$(python_2) || skip_all "autobahn" "the suite needs Python 2.7, which is not here"
  command -v python3 >/dev/null 2>&1 || skip_all "autobahn" "python3 is not here"
  if [ ! -e "$kept/suite/done" ]; then
    "$python" -m pip install --quiet --disable-pip-version-check --target "$kept/suite" "$SUITE" >"$work/pip.log" 2>&1 \
      || skip_all "autobahn" "the suite cannot be installed: $(tail -n 1 "$work/pip.log")"
    touch "$kept/suite/done"
  fi
  if [ ! -e "$kept/server/done" ]; then
    python3 -m pip install --quiet --disable-pip-version-check --target "$kept/server" "$WEBSOCKETS" >"$work/pip.log" 2>&1 \
      || skip_all "autobahn" "the server cannot be installed: $(tail -n 1 "$work/pip.log")"
    touch "$kept/server/done"
  fi
  # `addsitedir` and not a path in the environment: the suite's dependencies are namespace packages. A command, and no
  # function, which would run in the background as the child of a shell that is killed in its place.
  wstest=("$python" -W ignore -c
    'import site, sys; site.addsitedir(sys.argv.pop(1)); from autobahntestsuite.wstest import run; run()' "$kept/suite")
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1"); }

# The suite asks for no name and verifies nothing; what matters here is what happens to the frames.
certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' -keyout "$work/tls.key" -out "$work/tls.pem" \
    >"$work/openssl.log" 2>&1
}

tls_listener() {
  [ -z "$tls" ] || printf '  - { name: %s, address: "127.0.0.1:%s", tls: { certificates: [{ cert: %s, key: %s }] } }\n' \
    "$1" "$2" "$work/tls.pem" "$work/tls.key"
}

start() {
  library=$(free_port)
  own=$(free_port)
  library_proxied=$(free_port)
  own_proxied=$(free_port)
  library_tls=$(free_port)
  own_tls=$(free_port)
  PYTHONPATH=$kept/server python3 "$HERE/echo.py" "$library" >"$work/library.log" 2>&1 </dev/null &
  jobs_started+=($!)
  "${wstest[@]}" -m testeeserver -w "ws://127.0.0.1:$own" >"$work/own.log" 2>&1 </dev/null &
  jobs_started+=($!)
  cat >"$work/evenkeel.yaml" <<YAML
admin: { listen: "unix:$work/admin.sock" }
access_log: { output: $work/access.log, format: json }
listeners:
  - { name: library, address: "127.0.0.1:$library_proxied" }
  - { name: own, address: "127.0.0.1:$own_proxied" }
$(tls_listener library-tls "$library_tls")
$(tls_listener own-tls "$own_tls")
routes:
  - { name: own, match: { hosts: [localhost] }, pool: own }
  - { name: library, pool: library }
pools:
  library: { endpoints: ["127.0.0.1:$library"], health_check: off }
  # It serves no other Host than its own address.
  own: { endpoints: ["127.0.0.1:$own"], health_check: off, host: endpoint }
YAML
  "$binary" run -c "$work/evenkeel.yaml" >"$work/proxy.log" 2>&1 </dev/null &
  jobs_started+=($!)
  for port in "$library" "$own" "$library_proxied" "$own_proxied" ${tls:+"$library_tls" "$own_tls"}; do
    wait_for 20 listens "$port" || { tail "$work"/*.log; return 1; }
  done
}

finish() {
  kill "${jobs_started[@]}" 2>/dev/null || true
  wait || true
  [ "$failed" -eq 0 ] || { echo "--- the proxy's last lines"; tail -n 20 "$work/proxy.log" "$work/access.log"; }
  rm -rf "$work"
}

kept=${CARGO_TARGET_DIR:-target}/autobahn
work=$(mktemp -d)
jobs_started=()
trap finish EXIT
install
[ -n "${EVENKEEL_BINARY:-}" ] || cargo build --locked --quiet
binary=${EVENKEEL_BINARY:-${CARGO_TARGET_DIR:-target}/debug/evenkeel}
tls=
if certificate; then tls=yes; else skip "over TLS" "openssl, which makes the certificate, is not here or failed"; fi
start
# play CASES: a report on all agents, in $work/reports.
play() {
  cat >"$work/spec.json" <<JSON
{
  "outdir": "$work/reports",
  "servers": [
    { "agent": "websockets direct", "url": "ws://127.0.0.1:$library" },
    { "agent": "websockets proxied", "url": "ws://127.0.0.1:$library_proxied" },
    ${tls:+"{ \"agent\": \"websockets over TLS\", \"url\": \"wss://127.0.0.1:$library_tls\" },
    { \"agent\": \"testee over TLS\", \"url\": \"wss://localhost:$own_tls\" },"}
    { "agent": "testee direct", "url": "ws://127.0.0.1:$own" },
    { "agent": "testee proxied", "url": "ws://localhost:$own_proxied" }
  ],
  "cases": $1, "exclude-cases": [], "exclude-agent-cases": {}
}
JSON
  "${wstest[@]}" -m fuzzingclient -s "$work/spec.json" >"$work/suite.log" 2>&1 || { tail "$work/suite.log"; return 1; }
}

# A case without a verdict that both ways have had (see compare.py) is played again, up to three times.
compare() {
  local server=$1 way=$2 differing again report plays=("$work/first/index.json")
  report=$(verdicts "$server" "$way" "${plays[@]}")
  for again in 1 2 3; do
    differing=$(cat "$work/differing")
    [ "$differing" != "[]" ] || break
    printf 'played again (%s): %s\n' "$again" "$differing"
    rm -rf "$work/reports"
    play "$differing"
    cp "$work/reports/index.json" "$work/again-$again.json"
    plays+=("$work/again-$again.json")
    report="$report; then: $(verdicts "$server" "$way" "${plays[@]}")"
  done
  if [ "$(cat "$work/differing")" = "[]" ]; then pass "$server $way: $report"; else fail "$server $way" "$report"; fi
}
# verdicts SERVER WAY INDEX_JSON...
verdicts() { python3 "$HERE/compare.py" "$1" "$2" "$work/differing" "${@:3}"; }

play "$CASES"
cp -r "$work/reports" "$work/first"
for server in websockets testee; do
  for way in proxied ${tls:+"over TLS"}; do compare "$server" "$way"; done
done
summary
