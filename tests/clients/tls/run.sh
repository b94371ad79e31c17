#!/usr/bin/env bash
# The matrix of clients over TLS: each row a client and a version of HTTP, each column something that clients do. The
# certificates are of an authority made for the run, which the clients trust, and verify; the endpoint speaks plain HTTP/1.1.
# A row whose tool is not here is skipped with the reason.
#
#     run.sh PYTHON: the interpreter that has the Python clients
set -euo pipefail
cd "$(dirname "$0")/../../.."
# shellcheck source=tests/lib.sh
. tests/lib.sh
# shellcheck source=tests/clients/tls/certificates.sh
. tests/clients/tls/certificates.sh
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
export PYTHONDONTWRITEBYTECODE=1

readonly HERE=tests/clients/tls PYTHON=$1

start() {
  local endpoint
  endpoint=$(free_port)
  port=$(free_port)
  "$PYTHON" "$HERE/endpoint.py" "$endpoint" >"$work/endpoint.log" 2>&1 </dev/null &
  jobs_started+=($!)
  cat >"$work/evenkeel.yaml" <<YAML
admin: { listen: "unix:$work/admin.sock" }
access_log: { output: $work/access.log, format: json }
listeners:
  - name: https
    address: "127.0.0.1:$port"
    tls:
      certificates:
        - { cert: $work/one.test.pem, key: $work/one.test.key }
        - { cert: $work/two.test.pem, key: $work/two.test.key }
routes:
  - { name: one, match: { hosts: [one.test, two.test] }, pool: one }
pools:
  # The proxy may be there first, and waits for it.
  one:
    endpoints: ["127.0.0.1:$endpoint"]
    health_check: { interval: 200ms, timeout: 200ms }
    when_none_healthy: { wait: 10s }
YAML
  "$binary" run -c "$work/evenkeel.yaml" >"$work/proxy.log" 2>&1 </dev/null &
  jobs_started+=($!)
  wait_for 20 curl -sf --cacert "$work/ca.pem" --resolve "one.test:$port:127.0.0.1" "https://one.test:$port/report" \
    || { cat "$work/proxy.log" "$work/endpoint.log"; return 1; }
}

# rows COMMAND...: the program prints the cells of its rows; where it ends too early, the table misses some.
rows() { "$@" 2>&1 | tee -a "$work/cells" || fail "$*"; }

# lacking REASON ROW...
lacking() {
  local row
  for row in "${@:2}"; do printf 'skipped %s: %s\n' "$row" "$1" | tee -a "$work/cells"; done
}

has_java() { java --list-modules 2>/dev/null | grep -q '^jdk.compiler'; }
has_node() { [ "$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)" -ge 18 ]; }

curl_rows() {
  if curl --version | grep -q '^Features:.* HTTP2'; then
    rows "$HERE/curl.sh" "$port" "$work/ca.pem" 1.1 2
  else
    rows "$HERE/curl.sh" "$port" "$work/ca.pem" 1.1
    lacking "this curl speaks no HTTP/2" curl-2
  fi
}

nghttp2_rows() {
  local all=(nghttp-2 h2load-1.1 h2load-2)
  if command -v nghttp >/dev/null 2>&1 && command -v h2load >/dev/null 2>&1; then
    rows "$HERE/nghttp2.sh" "$port" "$work/ca.pem"
  else
    lacking "nghttp and h2load are not here (Debian package: nghttp2-client)" "${all[@]}"
  fi
}

java_rows() {
  if has_java; then
    rows java "-Djdk.net.hosts.file=$work/hosts" "$HERE/Client.java" "$port" "$work/ca.pem"
  else
    lacking "no JDK is here, 11 or later (Debian package: default-jdk-headless)" java-1.1 java-2
  fi
}

node_rows() {
  local flags=()
  if has_node; then
    # Node 20 has its WebSocket behind a flag.
    ! node --experimental-websocket -e 0 2>/dev/null || flags=(--experimental-websocket --no-warnings)
    rows env NODE_EXTRA_CA_CERTS="$work/ca.pem" node "${flags[@]}" "$HERE/client.mjs" "$port"
  else
    lacking "Node 18 or later is not here" node-https-1.1 node-http2-2 node-fetch-1.1
  fi
}

finish() {
  kill "${jobs_started[@]}" 2>/dev/null || true
  wait || true
  [ "$failed" -eq 0 ] || { echo "--- the proxy's last lines"; tail -n 20 "$work/proxy.log" "$work/endpoint.log"; }
  rm -rf "$work"
}

command -v openssl >/dev/null 2>&1 || skip_all "clients over TLS" "openssl is not here, which makes the certificates"
binary=${CARGO_TARGET_DIR:-target}/debug/evenkeel
work=$(mktemp -d)
jobs_started=()
trap finish EXIT
certificates "$work" one.test two.test
printf '127.0.0.1 %s\n' one.test two.test three.test >"$work/hosts"
start
curl_rows
nghttp2_rows
rows "$PYTHON" "$HERE/client.py" "$port" "$work/ca.pem"
java_rows
node_rows
"$PYTHON" "$HERE/table.py" tls "$work/cells" "$work/access.log" | tee -a "$work/cells" || true
passed=$(grep -c '^ok ' "$work/cells" || true)
failed=$((failed + $(grep -c '^FAILED ' "$work/cells" || true)))
skipped=$(grep -c '^skipped ' "$work/cells" || true)
summary
