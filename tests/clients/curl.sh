#!/usr/bin/env bash
# curl through the proxy: curl.sh BASE_URL UNIX_SOCKET. Every request goes to the demo endpoints.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib.sh
. tests/lib.sh

readonly BASE=$1 SOCKET=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
head -c 5000000 /dev/urandom >"$work/upload"

ask() { curl -sS --max-time 20 "$@"; }
received() { ask -H 'Accept: application/json' "$@" | grep -o '"body_bytes":[0-9]*'; }

contains "HTTP/1.1" "Hello from" "$(ask "$BASE/")"

old=$(ask -v -0 "$BASE/events?count=3&ms=10" 2>&1)
contains "HTTP/1.0: a streamed answer ends whole" "data: event 3 of 3" "$old"
equals "HTTP/1.0: never chunked" "" "$(grep -i '^< transfer-encoding' <<<"$old" || true)"

twice=$(ask -v -0 -H 'Connection: keep-alive' "$BASE/" "$BASE/" 2>&1)
contains "HTTP/1.0 with keep-alive: two answers" "Hello from" "${twice#*Hello from}"

head=$(ask -I "$BASE/big?size=1234567")
contains "HEAD: the length of what GET would send" "1234567" "$head"
equals "HEAD: and no body" 0 "$(ask -I -o "$work/head" -w '%{size_download}' "$BASE/big")"

expect=$(ask -v -H 'Expect: 100-continue' -H 'Accept: application/json' --data-binary "@$work/upload" "$BASE/" 2>&1)
contains "Expect: 100-continue is answered" "HTTP/1.1 100" "$expect"
contains "Expect: and the body arrives" '"body_bytes":5000000' "$expect"

equals "an upload with a length" '"body_bytes":5000000' "$(received --data-binary "@$work/upload" "$BASE/")"
equals "a chunked upload" '"body_bytes":5000000' \
  "$(received -H 'Transfer-Encoding: chunked' --data-binary "@$work/upload" "$BASE/")"
equals "PUT from standard input" '"body_bytes":5000000' "$(received -T - "$BASE/put" <"$work/upload")"

# Every endpoint sends the same bytes, so one sum tells whether any was lost, doubled or swapped on the way.
sums=$(for _ in 1 2 3; do ask "$BASE/big?size=50MiB" | sha256sum; done | sort -u | wc -l)
equals "three 50 MiB downloads, equal to the byte" 1 "$sums"
equals "and of full length" 52428800 "$(ask -o /dev/null -w '%{size_download}' "$BASE/big?size=50MiB")"

contains "keep-alive: the second request uses the first connection" "e-using existing connection" \
  "$(ask -v "$BASE/" "$BASE/" 2>&1)"

times=$(ask -N -o /dev/null -w '%{time_starttransfer} %{time_total}' "$BASE/events?count=5&ms=300")
check "server-sent events come as they are made ($times)" \
  awk -v t="$times" 'BEGIN { split(t, a, " "); exit !(a[2] - a[1] > 0.6) }'

equals "an endpoint's own error passes" 418 "$(ask -o /dev/null -w '%{http_code}' "$BASE/fail?status=418")"
contains "a unix socket listens too" "Hello from" "$(ask --unix-socket "$SOCKET" http://local/)"

ask "$BASE/?[1-900]" | grep '^Hello from' | cut -d' ' -f3 | sort | uniq -c | awk '{ print $1 }' >"$work/shares"
equals "900 requests: 300 for each of three endpoints" "300 300 300" "$(paste -sd' ' "$work/shares")"

summary
