#!/usr/bin/env bash
# nghttp and h2load over TLS, as rows of the matrix: nghttp2.sh PORT CA.
set -euo pipefail
# shellcheck source=tests/clients/tls/cells.sh
. "$(dirname "$0")/cells.sh"

readonly PORT=$1 CA=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
head -c 20971520 /dev/urandom >"$work/big"
head -c 1000 /dev/urandom >"$work/small"

# --- nghttp: the name is asked for by a header, and verified against the authorities of OpenSSL's environment.

at() {
  local mark='?'
  case $1 in *'?'*) mark='&' ;; esac
  printf 'https://127.0.0.1:%s%s%srow=%s&cell=%s' "$PORT" "$1" "$mark" "$row" "${2:-}"
}

ask() { SSL_CERT_FILE=$CA timeout 30 nghttp -H ":authority: ${name:-one.test}:$PORT" "$@"; }

# It goes on where a certificate is wrong, and warns.
asked() {
  ask "$@" >"$work/body" 2>"$work/said"
  equal "" "$(cat "$work/said")"
}

get() {
  local said
  asked "$(at /report)"
  has "\"version\": \"HTTP/1.1\", \"scheme\": \"https\", \"host\": \"one.test:$PORT\"" "$(cat "$work/body")"
  said=$(ask -nv "$(at '/fail?status=418')")
  has ":status: 418" "$said"
  has "The negotiated protocol: h2" "$said"
  echo "200, 418"
}

post() {
  asked -d "$work/small" "$(at /echo)"
  cmp "$work/small" "$work/body"
  echo "1000 bytes there and back"
}

received() { has "\"body_bytes\": 20971520, \"sha256\": \"$(sum "$work/big")\"" "$(cat "$work/body")"; }

upload() { asked "$@" -d "$work/big" "$(at /report)"; received; echo "20 MiB"; }

expect() {
  local said
  said=$(ask -nv --expect-continue -d "$work/big" "$(at /report)")
  upload --expect-continue >/dev/null
  case $said in *":status: 100"*) echo "20 MiB after 100 Continue" ;; *) echo "20 MiB, but after a second without"; return 9 ;; esac
}

download() {
  local said
  said=$(ask -nv "$(at '/bytes?size=20971520')")
  asked "$(at '/bytes?size=20971520')"
  has "x-sha256: $(sum "$work/body")" "$said"
  echo "20 MiB"
}

heads() {
  local said
  said=$(ask -v -H ':method: HEAD' "$(at '/bytes?size=1234567')")
  has "content-length: 1234567" "$said"
  case $said in *"recv DATA frame <length=0"*) ;; *"recv DATA"*) echo "a body came"; return 1 ;; esac
  echo "a length and no body"
}

keep_alive() {
  # -M 1: one at a time.
  local targets=()
  for number in $(seq 20); do targets+=("$(at "/report?number=$number" keep-alive)"); done
  asked -M 1 "${targets[@]}"
  equal 20 "$(grep -o '"query": "number=[0-9]*' "$work/body" | sort -u | wc -l)"
  echo "20 requests"
}

names() {
  local name
  for name in one.test two.test; do
    asked "$(at /report)"
    has "\"host\": \"$name:$PORT\"" "$(cat "$work/body")"
  done
  name=three.test
  ask -n "$(at /report)" >"$work/said" 2>&1 || true
  has "verification failed" "$(cat "$work/said")"
  echo "two names, each with its certificate; a third one is warned of"
}

parallel() {
  asked -m 200 "$(at '/report?at=once' parallel)"
  equal 200 "$(grep -o '"method": "GET"' "$work/body" | wc -l)"
  echo "200 at once"
}

# --- h2load

# load EXPECTED_PROTOCOL REQUESTS H2LOAD_ARGUMENT...: all of them must be answered by 2xx; $said is what it printed.
load() {
  local protocol=$1 requests=$2
  shift 2
  # By name, and to this address: it asks for the certificate of the name, which it does not verify.
  said=$(timeout 60 h2load -n "$requests" --connect-to="127.0.0.1:$PORT" "${http[@]}" "$@")
  has "Application protocol: $protocol" "$said"
  has "requests: $requests total, $requests started, $requests done, $requests succeeded, 0 failed, 0 errored, 0 timeout" "$said"
  has "status codes: $requests 2xx, 0 3xx, 0 4xx, 0 5xx" "$said"
}

here() { at "$@" | sed 's#//127.0.0.1#//one.test#'; }

load_get() {
  load "$protocol" 100 -c 1 "$(here /report)"
  echo "100 requests"
}

load_post() {
  load "$protocol" 100 -c 1 -d "$work/small" "$(here /echo)"
  has "(100000) data" "$said"
  echo "100 of 1,000 bytes, there and back"
}

load_upload() {
  load "$protocol" 2 -c 1 -d "$work/big" "$(here /report)"
  echo "2 of 20 MiB"
}

load_download() {
  load "$protocol" 2 -c 1 "$(here '/bytes?size=20971520')"
  has "(41943040) data" "$said"
  echo "2 of 20 MiB"
}

load_keep_alive() {
  load "$protocol" 20 -c 1 -m 1 "$(here /report keep-alive)"
  echo "20 requests"
}

load_parallel() {
  load "$protocol" 4000 -c 10 "${streams[@]}" "$(here '/bytes?size=1000' parallel)"
  has "(4000000) data" "$said"
  echo "4,000 requests, 10 connections${streams:+ of 100 streams}"
}

row=nghttp-2
cell "$row" GET get
cell "$row" POST post
cell "$row" upload upload
cell "$row" "streamed upload" upload --no-content-length
cell "$row" Expect expect
cell "$row" download download
cell "$row" HEAD heads
cell "$row" keep-alive keep_alive
cell "$row" names names
cell "$row" parallel parallel

for version in 1.1 2; do
  row=h2load-$version
  if [ "$version" = 2 ]; then protocol=h2 http=() streams=(-m 100); else protocol=http/1.1 http=(--h1) streams=(); fi
  cell "$row" GET load_get
  cell "$row" POST load_post
  cell "$row" upload load_upload
  cell "$row" download load_download
  cell "$row" keep-alive load_keep_alive
  cell "$row" parallel load_parallel
done
