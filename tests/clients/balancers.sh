#!/usr/bin/env bash
# Senders of the PROXY protocol in front of a listener that requires it: balancers.sh PORT ACCESS_LOG. HAProxy passes on
# connections of 127.0.0.7, which is then the client; curl writes a header of its own.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib.sh
. tests/lib.sh

readonly PORT=$1 LOG=$2
work=$(mktemp -d)
haproxy=
trap 'kill $haproxy 2>/dev/null || true; rm -rf "$work"' EXIT

# Who asked for this path, as the log says: client and peer, without their ports.
logged() {
  wait_for 5 grep -q "\"target\":\"$1\"" "$LOG" || return 1
  grep "\"target\":\"$1\"" "$LOG" | sed 's/.*"client":"\([^"]*\):[0-9]*","peer":"\([^"]*\):[0-9]*".*/\1 \2/'
}

if curl --help all 2>/dev/null | grep -q -- '--haproxy-protocol'; then
  contains "curl: version 1" "Hello from" \
    "$(curl -sS --max-time 10 --haproxy-protocol --interface 127.0.0.1 "http://127.0.0.1:$PORT/curl")"
  # It names its own address: nobody else is the client.
  check "curl: the client is the one that it names" grep -q '"client":"127.0.0.1:[0-9]*".*"target":"/curl"' "$LOG"
else
  skip "curl" "this curl knows no --haproxy-protocol"
fi

command -v haproxy >/dev/null 2>&1 || { skip "HAProxy" "haproxy is not here"; summary; exit; }
one=$(free_port)
two=$(free_port)
cat >"$work/haproxy.cfg" <<CFG
defaults
  mode tcp
  timeout connect 5s
  timeout client 10s
  timeout server 10s
listen one
  bind 127.0.0.1:$one
  server evenkeel 127.0.0.1:$PORT send-proxy check check-send-proxy inter 200ms
listen two
  bind 127.0.0.1:$two
  server evenkeel 127.0.0.1:$PORT send-proxy-v2 proxy-v2-options unique-id,crc32c check check-send-proxy inter 200ms
CFG
haproxy -db -f "$work/haproxy.cfg" >"$work/haproxy.log" 2>&1 </dev/null &
haproxy=$!
for version in 1 2; do
  port=$one
  [ "$version" = 1 ] || port=$two
  contains "HAProxy, version $version: served" "Hello from" \
    "$(curl -sS --max-time 10 --retry 20 --retry-connrefused --retry-delay 1 --interface 127.0.0.7 \
      "http://127.0.0.1:$port/v$version")"
  equals "HAProxy, version $version: client and peer" "127.0.0.7 127.0.0.1" "$(logged "/v$version")"
  curl -sS --max-time 20 --interface 127.0.0.7 --data-binary "@$0" -H 'Accept: application/json' \
    "http://127.0.0.1:$port/post$version" "http://127.0.0.1:$port/post$version" >"$work/posts"
  equals "HAProxy, version $version: two uploads on one connection" 2 \
    "$(grep -o "\"body_bytes\":$(wc -c <"$0")" "$work/posts" | wc -l)"
done
# Its checks connect every 200 ms, say whose they are, and leave: none is a reason to warn or to be down.
sleep 1
equals "HAProxy: its checks pass" "" "$(grep -E 'is DOWN|Layer4' "$work/haproxy.log" || true)"
summary
