#!/usr/bin/env bash
# More clients, and slower ones, than a server likes: slowhttptest's attacks with 1,000 connections beside honest clients,
# attacks on HTTP/2 with 100 connections, and 5,000 clients where there are 1,000 descriptors.
# run.sh [header|body|read|http2|descriptors] runs one of them, run.sh ATTACK one of those on HTTP/2 (see http2.py).
#
# What is set for slow clients, and why: `timeouts.header` keeps its default, 10 s for a whole header. `body` and `write`
# are 60 s by default, for honest clients on bad networks; here they are 5 s, so that a client that sends or takes nothing
# for so long is gone well within 15 s. Both are times between two pieces: a client that sends a little more often than
# that is not slow to them.
#
# The machine must have nothing else to do: with other work on its cores, times say nothing. EVENKEEL_BINARY names a build
# other than the release.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib.sh
. tests/lib.sh

readonly HERE=tests/pressure
part=${1:-all}
readonly SLOW=1000 SLOW_GONE=15          # slow clients, and the seconds within which all of them must be gone
readonly RATE=200 HONEST=8               # honest clients: requests a second, and the connections for them
readonly CROWD=5000 DESCRIPTORS=1000
# Attacks on HTTP/2: connections, what the process may grow by in MiB, and the seconds until all is as before.
readonly ATTACKERS=100 GROWTH=300 NORMAL=60
readonly ATTACKS="bomb-large bomb-hundred bomb-many unread reset continuation ping settings data"

# start_proxy ENGINE DESCRIPTORS: sets $proxy, $port, $admin and $log, which is its own: two that write to one file from
# its beginning would overwrite each other's lines.
start_proxy() {
  port=$(free_port)
  log=$work/proxy-$port.log
  admin=$work/admin-$port.sock
  cat >"$work/evenkeel.yaml" <<YAML
server: { threads: 2 }
admin: { listen: "unix:$admin" }
access_log: { output: $work/access.log, format: json }
listeners:
  - { name: front, address: "127.0.0.1:$port", engine: $1, h2c: true, timeouts: { body: 5s, write: 5s } }
routes:
  - { name: honest, match: { paths: [/honest] }, pool: honest }
  - { name: other, pool: other }
pools: { honest: [$(endpoints honest)], other: [$(endpoints other)] }
YAML
  (
    ulimit -n "$2"
    exec "$binary" run -c "$work/evenkeel.yaml" >"$log" 2>&1 </dev/null
  ) &
  proxy=$!
  jobs_started+=("$proxy")
  wait_for 10 ask || { cat "$log"; return 1; }
}

stop_proxy() {
  check "every line of its log is whole" python3 -c 'import json, sys; [json.loads(line) for line in open(sys.argv[1])]' "$log"
  kill -KILL "$proxy"
  wait "$proxy" 2>/dev/null || true
}

# Attackers, and the endpoints that they reach, are on other machines in life: here they take only the processor time that
# nobody else wants. What is measured is what the proxy lets an attack do to others.
readonly ELSEWHERE=(nice -n 19)

# start_endpoints NAME [COMMAND...]: the built-in ones, run by the command.
start_endpoints() {
  local log=$work/$1.log
  (
    ulimit -n 8192
    exec "${@:2}" "$binary" demo --listen "127.0.0.1:$(free_port)" >"$log" 2>&1 </dev/null
  ) &
  jobs_started+=($!)
  wait_for 10 grep -q '^  c  http' "$log" || { cat "$log"; return 1; }
}
endpoints() { sed -n 's#^  [abc]  http://\([0-9.:]*\).*#\1#p' "$work/$1.log" | paste -sd,; }

ask() { curl -sf -o /dev/null --max-time "${1:-5}" "http://127.0.0.1:$port/"; }
# The operator is elsewhere, too.
operator() { "${ELSEWHERE[@]}" curl -sf --max-time 2 --unix-socket "$admin" "http://localhost/$1"; }
metric() { operator metrics | awk -v name="$1" 'index($0, name "{") == 1 { sum += $NF } END { print sum + 0 }'; }
open_connections() { metric evenkeel_connections; }
now_ms() { date +%s%3N; }
seconds() { awk -v ms="$1" 'BEGIN { printf "%.1f s", ms / 1000 }'; }
# looked_for SECONDS COMMAND...: wait_for, with so few looks that the honest clients do not notice them.
looked_for() { PAUSE=0.5 wait_for "$@"; }
# Processor time in hundredths of a second; the process's name has no blanks.
processor() { awk '{ print $14 + $15 }' "/proc/$proxy/stat"; }
memory() { awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$proxy/status"; }
# The most since its last look at 5 in `clear_refs`, which makes it what it is now.
peak() { awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$proxy/status"; }
forget_peak() { echo 5 >"/proc/$proxy/clear_refs"; }
honest() { python3 "$HERE/honest.py" "$port" "$1" "$RATE" "$HONEST" "${@:2}"; }
at_most() { [ "$(open_connections)" -le "$1" ]; }
at_least() { [ "$(open_connections)" -ge "$1" ]; }

wanted() { [ "$part" = all ] || [ "$part" = "$1" ]; }

# attack PORT PATH OPTION...: begins one; sets $attack.
attack() {
  local port=$1 path=$2
  shift 2
  "${ELSEWHERE[@]}" slowhttptest "$@" -c "$SLOW" -r "$SLOW" -l 60 -p 5 -u "http://127.0.0.1:$port$path" >"$work/slow.log" 2>&1 </dev/null &
  attack=$!
  jobs_started+=("$attack")
}

end_attack() {
  kill "$attack" 2>/dev/null || true
  wait "$attack" 2>/dev/null || true
}

# tell MODE WHEN FIGURES: what the honest clients have seen.
tell() {
  local served failures p50 p99 max
  read -r served failures p50 p99 max <<<"$3"
  printf '%s: %s: %s requests, %s failed, p50 %s ms, p99 %s ms, max %s ms\n' "$1" "$2" "$served" "$failures" "$p50" "$p99" "$max"
}

# judge MODE BESIDE: what the honest clients have seen of an attack on the proxy, and of one on a neighbour, as its p99.
judge() {
  local figures p99
  figures=$(cat "$work/honest")
  tell "$1" "an attack on the proxy" "$figures"
  p99=$(cut -d ' ' -f 4 <<<"$figures")
  equals "$1: no honest request fails" 0 "$(cut -d ' ' -f 2 <<<"$figures")"
  check "$1: the honest p99 at most doubles ($2 ms, $p99 ms)" awk -v a="$p99" -v b="$2" 'BEGIN { exit !(a <= 2 * b) }'
}

# slow MODE PATH OPTION...: one attack beside the honest clients. What it takes of the machine it takes of everybody: so the
# same attack on a neighbour, another process, is what the attack on the proxy itself is compared with.
slow() {
  local mode=$1 path=$2 begun arrived gone load figures beside
  shift 2
  tell "$mode" "no attack" "$(honest 15)"
  attack "$neighbour" "$path" "$@"
  figures=$(honest 15)
  end_attack
  tell "$mode" "an attack on a neighbour" "$figures"
  beside=$(cut -d ' ' -f 4 <<<"$figures")
  honest 15 >"$work/honest" 2>"$work/honest.err" &
  load=$!
  begun=$(now_ms)
  attack "$port" "$path" "$@"
  if looked_for 5 at_least $((SLOW * 9 / 10)); then pass "$mode: they are all there"; else fail "$mode: they are all there" "$(open_connections) connections"; fi
  arrived=$(now_ms)
  printf '%s: %s MiB for them\n' "$mode" "$(memory)"
  if looked_for "$SLOW_GONE" at_most $((HONEST + 1)); then
    gone=$(now_ms)
    pass "$mode: all gone within $SLOW_GONE s ($(seconds $((gone - begun))) after the first came, $(seconds $((gone - arrived))) after the last)"
  else
    fail "$mode: all gone within $SLOW_GONE s" "$(open_connections) connections are left"
  fi
  wait "$load" || true
  judge "$mode" "$beside"
  end_attack
}

slow_clients() {
  command -v slowhttptest >/dev/null 2>&1 || { skip "slow clients" "slowhttptest is not here (a Debian package)"; return; }
  start_proxy native 8192
  neighbour=$port
  start_proxy native 8192
  # A header field every 3 s: none of them moves the deadline.
  if wanted header; then slow header / -H -i 3; fi
  # slowhttptest's own interval, 10 s.
  if wanted body; then slow body / -B -i 10 -s 8192; fi
  # A few bytes every 5 s. What the endpoint's socket holds of a thousand answers must be had on this machine, too.
  if wanted read; then slow read "/big?size=512KiB" -X -n 5 -z 32 -w 512 -y 1024; fi
  check "the proxy is well" operator livez
  equals "nothing panicked" 0 "$(operator metrics | awk '/^evenkeel_panics_total/ { print $NF }')"
  stop_proxy
}

# http2_attack PORT NAME: begins one; sets $attack.
http2_attack() {
  "${ELSEWHERE[@]}" python3 "$HERE/http2.py" "$1" "$2" "$ATTACKERS" <"$work/stay" >"$work/attack.log" 2>&1 &
  attack=$!
  jobs_started+=("$attack")
}

# on_http2 NAME: one attack beside honest clients of HTTP/2, compared with the same on a neighbour.
on_http2() {
  local mode=$1 figures beside before grown load begun
  http2_attack "$neighbour" "$mode"
  figures=$(honest 10 h2)
  end_attack
  tell "$mode" "an attack on a neighbour" "$figures"
  beside=$(cut -d ' ' -f 4 <<<"$figures")
  before=$(memory)
  forget_peak
  honest 10 h2 >"$work/honest" 2>"$work/honest.err" &
  load=$!
  http2_attack "$port" "$mode"
  wait "$load" || true
  judge "$mode" "$beside"
  grown=$(($(peak) - before))
  check "$mode: the process grows by at most $GROWTH MiB ($grown MiB)" [ "$grown" -le "$GROWTH" ]
  # Those who only wait have to be closed, those who come again and again to go.
  case $mode in bomb-* | unread) ;; *) end_attack ;; esac
  begun=$(now_ms)
  if looked_for "$NORMAL" at_most 1; then
    pass "$mode: all gone within $NORMAL s ($(seconds $(($(now_ms) - begun))))"
  else
    fail "$mode: all gone within $NORMAL s" "$(open_connections) connections are left"
  fi
  end_attack
  figures=$(honest 5 h2)
  tell "$mode" "afterwards, with $(memory) MiB" "$figures"
  check "$mode: as fast as before" awk -v a="$(cut -d ' ' -f 4 <<<"$figures")" -v b="$beside" 'BEGIN { exit !(a <= 2 * b) }'
}

on_http2_all() {
  start_proxy native 8192
  neighbour=$port
  start_proxy native 8192
  mkfifo "$work/stay"
  exec 9<>"$work/stay"
  for mode in $ATTACKS; do
    if wanted http2 || wanted "$mode"; then on_http2 "$mode"; fi
  done
  exec 9>&-
  check "http2: the proxy is well" operator livez
  equals "http2: nothing panicked" 0 "$(operator metrics | awk '/^evenkeel_panics_total/ { print $NF }')"
  rm "$work/stay"
  stop_proxy
}

# descriptors ENGINE
descriptors() {
  local engine=$1 before after here connected answered left crowd
  start_proxy "$engine" "$DESCRIPTORS"
  mkfifo "$work/stay"
  python3 "$HERE/crowd.py" "$port" "$CROWD" <"$work/stay" >"$work/crowd" 2>&1 &
  crowd=$!
  jobs_started+=("$crowd")
  exec 9>"$work/stay"
  if wait_for 30 grep -q '^here ' "$work/crowd"; then
    read -r here connected answered <"$work/crowd"
    pass "$engine: $CROWD clients, $connected of them $here, $answered answered"
  else
    fail "$engine: $CROWD clients" "$(cat "$work/crowd")"
  fi
  before=$(processor)
  sleep 3
  after=$(processor)
  check "$engine: it does not spin ($(((after - before) / 3)) % of a core)" [ $(((after - before) / 3)) -lt 50 ]
  check "$engine: the operator is answered" operator livez
  check "$engine: and sees why" grep -Eq 'connection limit reached|connections cannot be accepted|os error 24' "$log"
  exec 9>&-
  wait "$crowd" || true
  left=$(now_ms)
  if wait_for 10 ask 2; then
    left=$(($(now_ms) - left))
    check "$engine: it serves within 2 s of their leaving ($left ms)" [ "$left" -lt 2000 ]
  else
    fail "$engine: it serves within 2 s of their leaving" "not within 10 s"
  fi
  check "$engine: no connection is left over" wait_for 5 at_most 1
  rm "$work/stay"
  stop_proxy
}

finish() {
  kill "${jobs_started[@]}" 2>/dev/null || true
  wait || true
  [ "$failed" -eq 0 ] || { echo "--- the proxy's last lines"; tail -n 20 "${log:-/dev/null}"; }
  rm -rf "$work"
}

for tool in curl python3; do
  command -v "$tool" >/dev/null 2>&1 || skip_all "pressure" "$tool is not here"
done
ulimit -n 8192 2>/dev/null || skip_all "pressure" "8192 open files are needed, and the hard limit is $(ulimit -Hn)"
# A debug build is several times slower, which is all that would be measured.
binary=${EVENKEEL_BINARY:-${CARGO_TARGET_DIR:-target}/release/evenkeel}
[ -n "${EVENKEEL_BINARY:-}" ] || cargo build --locked --release --quiet
work=$(mktemp -d)
jobs_started=()
trap finish EXIT
start_endpoints honest
start_endpoints other "${ELSEWHERE[@]}"
if wanted header || wanted body || wanted read; then slow_clients; fi
if wanted http2 || [[ " $ATTACKS " == *" $part "* ]]; then on_http2_all; fi
if wanted descriptors; then
  descriptors native
  descriptors pingora
fi
summary
