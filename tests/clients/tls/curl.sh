#!/usr/bin/env bash
# curl over TLS, as two rows of the matrix: curl.sh PORT CA HTTP_VERSION...
set -euo pipefail
# shellcheck source=tests/clients/tls/cells.sh
. "$(dirname "$0")/cells.sh"

readonly PORT=$1 CA=$2 LATE=50
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
head -c 20971520 /dev/urandom >"$work/big"

ask() {
  local name names=()
  for name in one two three; do names+=(--resolve "$name.test:$PORT:127.0.0.1"); done
  curl -sS --max-time 30 --cacert "$CA" "${names[@]}" "--http$version" "$@"
}

# at TARGET [NAME [CELL]]: the log tells by the query whose request it was.
at() {
  local mark='?'
  case $1 in *'?'*) mark='&' ;; esac
  printf 'https://%s.test:%s%s%srow=%s&cell=%s' "${2:-one}" "$PORT" "$1" "$mark" "$row" "${3:-}"
}

# asked STATUS CURL_ARGUMENT...: the body, in $work/body; status and version must be as expected.
asked() {
  local status=$1
  shift
  equal "$status $version" "$(ask -o "$work/body" -w '%{http_code} %{http_version}' "$@")"
}

get() {
  asked 200 "$(at /report)"
  has "\"version\": \"HTTP/1.1\", \"scheme\": \"https\", \"host\": \"one.test:$PORT\"" "$(cat "$work/body")"
  asked 418 "$(at '/fail?status=418')"
  equal "this is a 418" "$(cat "$work/body")"
  echo "200, 418"
}

post() {
  asked 200 --data-binary "@$0" "$(at /echo)"
  cmp "$0" "$work/body"
  echo "$(wc -c <"$0") bytes there and back"
}

received() { has "\"body_bytes\": 20971520, \"sha256\": \"$(sum "$work/big")\"" "$(cat "$work/body")"; }

upload() {
  asked 200 -H 'Expect:' --data-binary "@$work/big" "$(at /report)"
  received
  echo "20 MiB"
}

streamed_upload() {
  asked 200 -H 'Expect:' -X POST -T - "$(at /report)" <"$work/big"
  received
  echo "20 MiB from standard input"
}

expect() {
  local said
  said=$(ask -v -o "$work/body" -H 'Expect: 100-continue' --data-binary "@$work/big" "$(at /report)" 2>&1)
  received
  has "< HTTP/1.1 100" "$said"
  echo "20 MiB after 100 Continue"
}

download() {
  asked 200 -D "$work/head" "$(at '/bytes?size=20971520')"
  equal "$(sed -n 's/^x-sha256: \([0-9a-f]*\).*/\1/Ip' "$work/head")" "$(sum "$work/body")"
  echo "20 MiB"
}

redirect() {
  local seen
  seen=$(ask -L -o "$work/body" -w '%{http_code} %{num_redirects} %{url_effective}' "$(at '/redirect?to=there')")
  equal "200 1 https://one.test:$PORT/report?to=there&row=$row&cell=" "$seen"
  asked 200 -L --data-binary "@$0" "$(at /redirect)"
  has "\"method\": \"POST\"" "$(cat "$work/body")"
  has "\"sha256\": \"$(sum "$0")\"" "$(cat "$work/body")"
  echo "307, followed to the proxy by https, with a body, too"
}

heads() {
  asked 200 -I "$(at '/bytes?size=1234567')"
  has "content-length: 1234567" "$(tr '[:upper:]' '[:lower:]' <"$work/body")"
  equal 0 "$(ask -I -o /dev/null -w '%{size_download}' "$(at '/bytes?size=1234567')")"
  equal "200 1 200 0 " \
    "$(ask -I -w '%{http_code} %{num_connects} ' -o /dev/null "$(at '/bytes?size=5')" -o /dev/null "$(at '/bytes?size=6')")"
  echo "a length, no body, and the next request is served"
}

keep_alive() {
  local seen
  seen=$(ask -w ' %{num_connects}\n' "$(at '/report?number=[1-20]' one keep-alive)" | sed 's/.* //' | tr -d '\n')
  equal 10000000000000000000 "$seen"
  echo "20 requests"
}

names() {
  local name code=0
  for name in one two; do
    asked 200 "$(at /report "$name")"
    has "\"host\": \"$name.test:$PORT\"" "$(cat "$work/body")"
  done
  asked 421 -H "Host: two.test:$PORT" "$(at /report one)"
  ask -o /dev/null "$(at /report three)" 2>"$work/refused" || code=$?
  equal 60 "$code"
  echo "two names, each with its certificate; a third one is refused, and the other one's host gets 421"
}

parallel() {
  ask -Z --no-progress-meter --parallel-max 100 -o "$work/parallel.#1" "$(at '/bytes?size=[1001-1200]' one parallel)" >/dev/null
  for size in $(seq 1001 1200); do equal "$size" "$(wc -c <"$work/parallel.$size")"; done
  echo "200 at once, each of another length"
}

events() {
  local worst attempt now
  for attempt in 1 2 3; do
    worst=0
    while read -r kind sent; do
      now=$(milliseconds)
      [ "$kind" = data: ] || continue
      sent=${sent/./}
      [ $((now - sent / 1000)) -le "$worst" ] || worst=$((now - sent / 1000))
    done < <(ask -N "$(at '/events?count=20&ms=50')" | tee "$work/events")
    equal 20 "$(grep -c '^data: ' "$work/events")"
    [ "$worst" -ge "$LATE" ] || { echo "20, the latest after $worst ms"; return; }
  done
  echo "an event came $worst ms after it was sent, at the try number $attempt"
  return 1
}

for version in "${@:3}"; do
  row=curl-$version
  cell "$row" GET get
  cell "$row" POST post
  cell "$row" upload upload
  cell "$row" "streamed upload" streamed_upload
  # With HTTP/2 it does not wait.
  [ "$version" = 2 ] || cell "$row" Expect expect
  cell "$row" download download
  cell "$row" redirect redirect
  cell "$row" HEAD heads
  cell "$row" keep-alive keep_alive
  cell "$row" names names
  cell "$row" parallel parallel
  cell "$row" events events
done
