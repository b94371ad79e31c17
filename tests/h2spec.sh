#!/usr/bin/env bash
# h2spec, the conformance suite of HTTP/2 and HPACK for servers, over h2c and over TLS, answered by an endpoint behind the
# proxy. H2SPEC names its binary, else the PATH has it; EVENKEEL_BINARY names a build other than the
# debug one; EVENKEEL_TEST_ENGINE=pingora runs it against that engine.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tests/lib.sh
. tests/lib.sh

readonly SUITE="h2spec"
# Over h2c all but http2/3.5/2, an invalid preface: the listener serves HTTP/1.1 too, takes it for that and answers 400,
# which h2spec reads as a frame that is cut short.
readonly OVER_TLS=(generic http2 hpack) OVER_TLS_CASES=146
readonly OVER_H2C=(generic http2/3.5/1 http2/4 http2/5 http2/6 http2/7 http2/8 hpack) OVER_H2C_CASES=145
readonly ENGINE=${EVENKEEL_TEST_ENGINE:-native}
readonly TIMEOUT_S=5 # h2spec's own 2 s are short on a busy machine: a case that passes waits for a frame, not for this.

certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' -keyout "$work/tls.key" -out "$work/tls.pem" >"$work/openssl.log" 2>&1
}

start_proxy() {
  "$binary" demo --listen "127.0.0.1:$(free_port)" >"$work/demo.log" 2>&1 </dev/null &
  jobs_started+=($!)
  wait_for 10 grep -q '^  c  http' "$work/demo.log" || { cat "$work/demo.log"; return 1; }
  plain=$(free_port)
  secure=$(free_port)
  cat >"$work/evenkeel.yaml" <<YAML
admin: { listen: "unix:$work/admin.sock" }
access_log: { output: $work/access.log, format: json }
listeners:
  - { name: h2c, address: "127.0.0.1:$plain", engine: $ENGINE, h2c: true }
  - { name: tls, address: "127.0.0.1:$secure", engine: $ENGINE, tls: { certificates: [{ cert: $work/tls.pem, key: $work/tls.key }] } }
routes: [{ pool: demo }]
pools: { demo: [$(sed -n 's#^  [abc]  http://\([0-9.:]*\).*#\1#p' "$work/demo.log" | paste -sd,)] }
YAML
  "$binary" run -c "$work/evenkeel.yaml" >"$work/proxy.log" 2>&1 </dev/null &
  proxy=$!
  jobs_started+=("$proxy")
  wait_for 10 "$binary" status --admin "unix:$work/admin.sock" || { cat "$work/proxy.log"; return 1; }
}

# play NAME CASES ARGS...: the closing line must count every case, all of them passed. h2spec skips a case where a server
# sets no limit of streams or answers without a body: this one does neither.
play() {
  local name=$1 cases=$2 code=0 report=$work/report
  shift 2
  "$h2spec" -h 127.0.0.1 -o "$TIMEOUT_S" "$@" >"$report" 2>&1 || code=$?
  equals "$name" "$cases tests, $cases passed, 0 skipped, 0 failed" "$(grep -E '^[0-9]+ tests, ' "$report" || tail -n 3 "$report")"
  equals "$name: exit code" 0 "$code"
  [ "$code" -eq 0 ] || sed -n '/^Failures:/,$p' "$report"
}

finish() {
  kill "${jobs_started[@]}" 2>/dev/null || true
  wait || true
  [ "$failed" -eq 0 ] || { echo "--- the proxy's last lines"; tail -n 20 "$work/proxy.log"; }
  rm -rf "$work"
}

h2spec=${H2SPEC:-$(command -v h2spec || true)}
[ -n "$h2spec" ] || skip_all "$SUITE" "no h2spec: H2SPEC names none, and none is on the PATH (github.com/summerwind/h2spec)"
[ -x "$h2spec" ] || { echo "H2SPEC names no program: $h2spec" >&2; exit 1; }
work=$(mktemp -d)
jobs_started=()
trap finish EXIT
[ -n "${EVENKEEL_BINARY:-}" ] || cargo build --locked --quiet
binary=${EVENKEEL_BINARY:-${CARGO_TARGET_DIR:-target}/debug/evenkeel}
certificate || skip_all "$SUITE" "openssl, which makes the certificate, is not here or failed"
start_proxy
play "HTTP/2 without TLS, engine $ENGINE" "$OVER_H2C_CASES" -p "$plain" "${OVER_H2C[@]}"
play "HTTP/2 over TLS, engine $ENGINE" "$OVER_TLS_CASES" -p "$secure" -t -k "${OVER_TLS[@]}"
check "the proxy has outlived it" kill -0 "$proxy"
summary
