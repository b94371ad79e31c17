#!/usr/bin/env bash
# Real clients through a running proxy: curl, HAProxy in front, Python (httpx, aiohttp, websockets), Java's HttpClient,
# Node; then all of them, and more, over TLS (tls/run.sh), and gRPC (grpc/run.sh). Each client's program asserts for
# itself and prints one line a check; a client that is not here is skipped with the reason.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib.sh
. tests/lib.sh

readonly HERE=tests/clients
# Versions that this suite was written against; a newer one may be tried by editing this line.
readonly PYTHON_PACKAGES=("httpx[http2]==0.28.1" aiohttp==3.13.2 websockets==15.0.1) GRPC=grpcio==1.85.3

start_proxy() {
  "$binary" demo --listen "127.0.0.1:$(free_port)" >"$work/demo.log" 2>&1 </dev/null &
  jobs_started+=($!)
  wait_for 10 grep -q '^  c  http' "$work/demo.log" || { cat "$work/demo.log"; return 1; }
  local endpoints
  endpoints=$(sed -n 's#^  [abc]  http://\([0-9.:]*\).*#\1#p' "$work/demo.log" | paste -sd,)
  python_port=$(free_port)
  node_port=$(free_port)
  port=$(free_port)
  proxied_port=$(free_port)
  cat >"$work/evenkeel.yaml" <<YAML
admin: { listen: "unix:$work/admin.sock" }
access_log: { output: $work/access.log, format: json }
listeners:
  - { name: tcp, address: "127.0.0.1:$port" }
  - { name: local, address: "unix:$work/http.sock" }
  - { name: proxied, address: "127.0.0.1:$proxied_port", proxy_protocol: require, trusted_proxies: [127.0.0.1] }
routes:
  - { name: python, match: { paths: [/python] }, pool: python }
  - { name: node, match: { paths: [/node] }, pool: node }
  - { name: demo, pool: demo }
pools:
  demo: [$endpoints]
  # The suites start these endpoints themselves; the proxy is there before them, and waits for them.
  python:
    endpoints: ["127.0.0.1:$python_port"]
    health_check: { interval: 100ms }
    when_none_healthy: { wait: 10s }
  node:
    endpoints: ["127.0.0.1:$node_port"]
    health_check: { interval: 100ms }
    when_none_healthy: { wait: 10s }
YAML
  "$binary" run -c "$work/evenkeel.yaml" >"$work/proxy.log" 2>&1 </dev/null &
  jobs_started+=($!)
  wait_for 10 curl -sf "http://127.0.0.1:$port/" || { cat "$work/proxy.log"; return 1; }
}

# suite NAME COMMAND...: counts the `ok` lines the client's program prints; its failure is one failed check.
suite() {
  local name=$1 code=0 oks
  shift
  printf '== %s\n' "$name"
  "$@" 2>&1 | tee "$work/output" || code=$?
  oks=$(grep -c '^ok ' "$work/output" || true)
  passed=$((passed + oks))
  skipped=$((skipped + $(grep -c '^skipped ' "$work/output" || true)))
  if [ "$code" -ne 0 ]; then fail "$name: exit code $code"; elif [ "$oks" -eq 0 ]; then fail "$name: no check ran"; fi
}

# Sets `python` to an interpreter that has the clients, or `no_python` to why there is none.
find_python() {
  local venv
  python=
  venv=${CARGO_TARGET_DIR:-target}/clients/venv
  command -v python3 >/dev/null 2>&1 || { no_python="python3 is not here"; return; }
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv" >"$work/venv.log" 2>&1 \
    || { no_python="no virtual environment can be made (Debian package: python3-venv)"; rm -rf "$venv"; return; }
  "$venv/bin/pip" install --quiet --disable-pip-version-check "${PYTHON_PACKAGES[@]}" >"$work/pip.log" 2>&1 \
    || { no_python="pip cannot install the clients: $(tail -n 1 "$work/pip.log")"; return; }
  python=$venv/bin/python
}

python_suite() {
  [ -n "$python" ] || { skip "Python" "$no_python"; return; }
  suite "Python" "$python" "$HERE/client.py" "http://127.0.0.1:$port" "$python_port"
}

tls_suite() {
  [ -n "$python" ] || { skip "clients over TLS" "the endpoint is Python's: $no_python"; return; }
  suite "over TLS" "$HERE/tls/run.sh" "$python"
}

# Apart from the others, which need not be built where there is no wheel of it.
grpc_suite() {
  [ -n "$python" ] || { skip "gRPC" "$no_python"; return; }
  "$python" -m pip install --quiet --disable-pip-version-check --only-binary :all: "$GRPC" >"$work/pip.log" 2>&1 \
    || { skip "gRPC" "pip cannot install it: $(tail -n 1 "$work/pip.log")"; return; }
  suite "gRPC" "$HERE/grpc/run.sh" "$python"
}

java_suite() {
  command -v java >/dev/null 2>&1 || { skip "Java" "java is not here (Debian package: default-jdk-headless)"; return; }
  java --list-modules 2>/dev/null | grep -q '^jdk.compiler' \
    || { skip "Java" "this Java cannot run a source file (a JDK 11 or later can)"; return; }
  suite "Java" java "$HERE/Client.java" "http://127.0.0.1:$port"
}

node_suite() {
  command -v node >/dev/null 2>&1 || { skip "Node" "node is not here"; return; }
  node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 18 ? 0 : 1)' \
    || { skip "Node" "Node 18 or later has fetch; this is $(node --version)"; return; }
  suite "Node" node "$HERE/client.mjs" "http://127.0.0.1:$port" "$node_port"
}

curl_suite() {
  command -v curl >/dev/null 2>&1 || { skip "curl" "curl is not here"; return; }
  suite "curl" "$HERE/curl.sh" "http://127.0.0.1:$port" "$work/http.sock"
}

balancers_suite() {
  command -v curl >/dev/null 2>&1 || { skip "balancers" "curl is not here"; return; }
  suite "balancers" "$HERE/balancers.sh" "$proxied_port" "$work/access.log"
}

finish() {
  kill "${jobs_started[@]}" 2>/dev/null || true
  wait || true
  [ "$failed" -eq 0 ] || { echo "--- the proxy's last lines"; tail -n 20 "$work/proxy.log" "$work/access.log"; }
  rm -rf "$work"
}

command -v curl >/dev/null 2>&1 || skip_all "clients" "curl is not here, which also tells when the proxy is up"
cargo build --locked --quiet
binary=${CARGO_TARGET_DIR:-target}/debug/evenkeel
work=$(mktemp -d)
jobs_started=()
trap finish EXIT
find_python
start_proxy
curl_suite
balancers_suite
python_suite
java_suite
node_suite
tls_suite
grpc_suite
summary
