#!/usr/bin/env bash
# gRPC through the proxy, as a matrix: each row a way to the proxy (TLS, or HTTP/2 by prior knowledge) and one to the endpoint
# (the same two), each column something that calls do. Client and servers are Python's grpcio.
#
#     run.sh PYTHON: the interpreter that has grpcio
set -euo pipefail
cd "$(dirname "$0")/../../.."
# shellcheck source=tests/lib.sh
. tests/lib.sh
# shellcheck source=tests/clients/tls/certificates.sh
. tests/clients/tls/certificates.sh
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
export PYTHONDONTWRITEBYTECODE=1

readonly HERE=tests/clients/grpc PYTHON=$1

start() {
  local plain secured dead
  plain=$(free_port)
  secured=$(free_port)
  dead=$(free_port)
  dying=$(free_port)
  tls_port=$(free_port)
  h2c_port=$(free_port)
  "$PYTHON" "$HERE/server.py" "$plain" >"$work/plain.log" 2>&1 </dev/null &
  jobs_started+=($!)
  "$PYTHON" "$HERE/server.py" "$secured" "$work/one.test.pem" "$work/one.test.key" >"$work/secured.log" 2>&1 </dev/null &
  jobs_started+=($!)
  cat >"$work/evenkeel.yaml" <<YAML
admin: { listen: "unix:$work/admin.sock" }
access_log: { output: $work/access.log, format: json }
listeners:
  - name: tls
    address: "127.0.0.1:$tls_port"
    tls: { certificates: [{ cert: $work/one.test.pem, key: $work/one.test.key }] }
  - { name: h2c, address: "127.0.0.1:$h2c_port", h2c: true }
routes:
  - { name: h2c, match: { paths: [/h2c.Echo] }, pool: h2c }
  - { name: tls, match: { paths: [/tls.Echo] }, pool: tls }
  - { name: dying, match: { paths: [/dying.Echo] }, pool: dying }
  - { name: nobody, match: { paths: [/nobody.Echo] }, pool: nobody }
pools:
  h2c: { endpoints: ["127.0.0.1:$plain"], protocol: h2, health_check: off }
  tls: { endpoints: ["127.0.0.1:$secured"], protocol: h2, health_check: off, tls: { ca: $work/ca.pem, name: one.test } }
  dying: { endpoints: ["127.0.0.1:$dying"], protocol: h2, health_check: off }
  nobody: { endpoints: ["127.0.0.1:$dead"], protocol: h2, health_check: { interval: 200ms, timeout: 200ms } }
YAML
  "$binary" run -c "$work/evenkeel.yaml" >"$work/proxy.log" 2>&1 </dev/null &
  jobs_started+=($!)
  for port in "$plain" "$secured" "$tls_port" "$h2c_port"; do
    wait_for 20 listens "$port" || { tail "$work"/*.log; return 1; }
  done
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1"); }

finish() {
  kill "${jobs_started[@]}" 2>/dev/null || true
  wait || true
  [ "$failed" -eq 0 ] || { echo "--- the proxy's last lines"; tail -n 20 "$work/proxy.log" "$work/access.log"; }
  rm -rf "$work"
}

command -v openssl >/dev/null 2>&1 || skip_all "gRPC" "openssl is not here, which makes the certificates"
binary=${CARGO_TARGET_DIR:-target}/debug/evenkeel
work=$(mktemp -d)
jobs_started=()
trap finish EXIT
certificates "$work" one.test
start
PYTHONPATH=tests/clients/tls "$PYTHON" "$HERE/client.py" "$tls_port" "$h2c_port" "$work/ca.pem" \
  "$PYTHON" "$HERE/server.py" "$dying" | tee "$work/cells" || fail "client.py"
"$PYTHON" tests/clients/tls/table.py grpc "$work/cells" | tee -a "$work/cells" || true
passed=$(grep -c '^ok ' "$work/cells" || true)
failed=$((failed + $(grep -c '^FAILED ' "$work/cells" || true)))
summary
