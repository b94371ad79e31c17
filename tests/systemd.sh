#!/usr/bin/env bash
# The service as systemd sees it: ready only when it serves, reloaded, upgraded, stopped without losing a request,
# restarted after a crash that refuses nobody, given its sockets, left alone after an invalid config. PID 1 need not be
# systemd: a user manager runs in a mount namespace of its own and reads the unit made here from
# deploy/evenkeel.service. Sandboxing is for the system manager; `systemd-analyze` judges it.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tests/lib.sh
. tests/lib.sh

readonly UNIT=deploy/evenkeel.service

need() { command -v "$1" >/dev/null 2>&1 || skip_all "systemd suite" "$1 is not here (Debian package: $2)"; }

outside() {
  need systemd-analyze systemd
  need script bsdutils
  need unshare util-linux
  need curl curl
  need pgrep procps
  [ -x /lib/systemd/systemd ] || skip_all "systemd suite" "/lib/systemd/systemd is not here"
  [ "$(id -u)" -eq 0 ] || skip_all "systemd suite" "it needs root for a mount namespace"
  unshare --mount -- true 2>/dev/null || skip_all "systemd suite" "no mount namespace can be made here"
  cargo build --locked --quiet
  exec env EVENKEEL_IN_NAMESPACE=1 unshare --mount -- "$0"
}

# The shipped unit's life cycle with a config and a binary of ours. Everything that only the system manager can do
# (users, capabilities, sandboxing, directories) is left out.
write_unit() {
  mkdir -p "$work/units"
  grep -E '^(\[Service\]$|(Type|NotifyAccess|KillMode|TimeoutStopSec|Restart|RestartSec|RestartPreventExitStatus|FileDescriptorStoreMax)=)' \
    "$UNIT" >"$work/units/evenkeel.service"
  # The same commands, of this build and with this config.
  grep -E '^Exec(Start|Reload)=' "$UNIT" | sed "s#/usr/bin/evenkeel#$binary#; s#/etc/evenkeel/evenkeel.yaml#$config#" \
    >>"$work/units/evenkeel.service"
  # Not started with the service: where it is not, the service binds for itself.
  printf '[Socket]\nListenStream=127.0.0.1:%s\nListenStream=127.0.0.1:%s\n' "$port" "$(free_port)" >"$work/units/evenkeel.socket"
}

write_config() { # TEXT OF THE HOST HEADER, to tell one config from another
  cat >"$config" <<YAML
server: { drain: 20s }
admin: { listen: ["unix:$work/admin.sock", "127.0.0.1:0"] }
listeners:
  - address: 127.0.0.1:$port
routes:
  - pool: web
pools:
  web:
    endpoints: [$endpoint]
    host: $1
YAML
}

start_manager() {
  mount --make-rprivate /
  mount -t tmpfs tmpfs /run
  mkdir -p /run/systemd/system /run/user-manager
  chmod 700 /run/user-manager
  export XDG_RUNTIME_DIR=/run/user-manager SYSTEMD_UNIT_PATH=$work/units:/usr/lib/systemd/user
  export SYSTEMD_LOG_TARGET=console
  # A terminal of its own, or the manager takes ours; a limit, or a hung manager outlives us.
  timeout 240 script -qc '/lib/systemd/systemd --user --unit=basic.target' /dev/null >"$work/manager.log" 2>&1 </dev/null &
  wait_for 10 systemctl --user is-system-running || wait_for 1 systemctl --user show-environment \
    || skip_all "systemd suite" "the user manager does not start here: $(tail -n 1 "$work/manager.log")"
}

start_endpoint() {
  "$binary" demo --listen "127.0.0.1:$(free_port)" >"$work/demo.log" 2>&1 </dev/null &
  demo=$!
  wait_for 10 grep -q '^  a  http' "$work/demo.log"
  endpoint=$(sed -n 's#^  a  http://\([0-9.:]*\).*#\1#p' "$work/demo.log")
}

not() { ! "$@"; }
property() { systemctl --user show -P "$1" evenkeel.service; }
get() { curl -sS --max-time 20 "http://127.0.0.1:$port$1"; }
sees_host() { get / | grep -q "^host: $1"; }

start_is_ready() {
  systemctl --user start evenkeel.service || fail "start" "$(tail -n 5 "$work/manager.log")"
  contains "serves as soon as the start returns" "Hello from" "$(get /  2>&1 || true)"
  equals "active after the start" active "$(property ActiveState)"
  equals "notified: status is 'running'" running "$(property SubState)"
}

reload_changes_and_survives() {
  local pid
  pid=$(property MainPID)
  write_config two.test
  check "systemctl reloads" systemctl --user reload evenkeel.service
  check "a reload brings the new config in" sees_host two.test
  printf 'listen: nonsense\nunknown: key\n' >"$config"
  check "systemctl sees that a reload is refused" not systemctl --user reload evenkeel.service
  check "a refused reload keeps the old one" sees_host two.test
  equals "a reload keeps the process" "$pid" "$(property MainPID)"
  write_config two.test
}

# A client that never tries again asks all the time, until the file is gone; $work/failures has what went wrong.
ask_all_the_time() {
  : >"$work/asking"
  : >"$work/failures"
  while [ -e "$work/asking" ]; do
    get / >/dev/null 2>>"$work/failures" || echo "failed" >>"$work/failures"
  done &
  asking=$!
}

nobody_was_refused() { # NAME
  rm -f "$work/asking"
  wait "$asking"
  equals "$1" "" "$(cat "$work/failures")"
}

upgrade_once() {
  "$binary" upgrade --admin "unix:$work/admin.sock" 2>&1
}

upgrade_keeps_the_unit() {
  local before after
  before=$(property MainPID)
  ask_all_the_time
  for _ in 1 2 3; do
    contains "an upgrade succeeds" "has handed over" "$(upgrade_once)"
  done
  sleep 0.5 # What the last old process has in flight.
  nobody_was_refused "three upgrades refuse nobody"
  after=$(property MainPID)
  check "systemd knows the new process" test "$before" != "$after"
  contains "which is the one that answers" "pid $after" "$("$binary" status --admin "unix:$work/admin.sock")"
  check "and there is no other" wait_for 5 only_process "$after"
  equals "the unit is running" "active running" "$(property ActiveState) $(property SubState)"
  equals "nothing was restarted since the crash" 1 "$(property NRestarts)"
  write_config three.test
  systemctl --user reload evenkeel.service
  check "a reload goes to the new process" wait_for 5 sees_host three.test
  write_config two.test
  systemctl --user restart evenkeel.service
  check "a restart is one of the new process" wait_for 5 sees_host two.test
  upgrade_once >/dev/null
}

only_process() { [ "$(pgrep -f "^$binary run -c $config")" = "$1" ]; }

failed_upgrade_keeps_the_unit() {
  local before
  before=$(property MainPID)
  printf 'listen: nonsense\n' >"$config"
  contains "an upgrade with an invalid config is refused" "not upgraded" "$(upgrade_once || true)"
  write_config two.test
  equals "and keeps the process" "$before active" "$(property MainPID) $(property ActiveState)"
  check "which is alone" wait_for 5 only_process "$before"
}

crash_refuses_nobody() {
  ask_all_the_time
  sleep 0.2 # Some requests before the crash.
  systemctl --user show -P NFileDescriptorStore evenkeel.service >"$work/stored"
  equals "a copy of the socket is stored" 1 "$(cat "$work/stored")"
  # The request that is in the process at this moment dies with it; from then on nobody is refused.
  kill -KILL "$(property MainPID)"
  sleep 0.05
  : >"$work/failures"
  sleep 2
  nobody_was_refused "a crash after an upgrade refuses nobody"
  equals "the socket is still stored once" 1 "$(property NFileDescriptorStore)"
}

sockets_are_taken() {
  systemctl --user start evenkeel.socket
  ask_all_the_time
  check "systemd's socket starts the service" wait_for 10 sees_host two.test
  upgrade_once >/dev/null
  check "and is still served after an upgrade" sees_host two.test
  systemctl --user restart evenkeel.service
  check "and after a restart" sees_host two.test
  nobody_was_refused "with systemd's socket a start, an upgrade and a restart refuse nobody"
  systemctl --user stop evenkeel.socket evenkeel.service 2>/dev/null
}

crash_is_restarted() {
  kill -KILL "$(property MainPID)"
  check "serves again after kill -9" wait_for 10 sees_host two.test
  equals "one restart was counted" 1 "$(property NRestarts)"
}

stop_finishes_requests() {
  local begin answer
  get '/slow?ms=3000' >"$work/slow" 2>&1 &
  answer=$!
  sleep 0.5 # The request must be on its way to the endpoint; nothing outside shows when it is.
  begin=$SECONDS
  systemctl --user stop evenkeel.service
  if wait "$answer"; then pass "a slow request is finished by the stop"; else fail "a slow request is finished by the stop"; fi
  contains "and has its whole answer" "Hello from" "$(cat "$work/slow")"
  check "the stop waits no longer than that" test $((SECONDS - begin)) -le 8
  equals "a stop is a success" success "$(property Result)"
  equals "and exits 0" 0 "$(property ExecMainStatus)"
}

idle_stop_is_quick() {
  systemctl --user start evenkeel.service
  get / >/dev/null
  local begin=$SECONDS
  systemctl --user stop evenkeel.service
  check "an idle process stops at once" test $((SECONDS - begin)) -le 2
}

taken_port_fails_the_start() {
  systemctl --user reset-failed evenkeel.service 2>/dev/null || true
  sed -i "s/^  - address: .*/  - address: $endpoint/" "$config"
  if systemctl --user start evenkeel.service 2>/dev/null; then fail "a taken port fails the start"; else pass "a taken port fails the start"; fi
  equals "with exit code 1" 1 "$(property ExecMainStatus)"
  systemctl --user stop evenkeel.service
  systemctl --user reset-failed evenkeel.service 2>/dev/null || true
}

invalid_config_is_not_restarted() {
  printf 'listen: 127.0.0.1:%s\nendpoint: [typo]\n' "$port" >"$config"
  if systemctl --user start evenkeel.service 2>/dev/null; then fail "an invalid config fails the start"; else pass "an invalid config fails the start"; fi
  equals "with exit code 78" 78 "$(property ExecMainStatus)"
  sleep 2 # Longer than RestartSec: a restart would have begun.
  equals "and is not restarted" "failed 0" "$(property ActiveState) $(property NRestarts)"
}

unit_is_sound() {
  mkdir -p "$work/verify"
  sed "s#/usr/bin/evenkeel#$binary#; /^User=/d; /^Group=/d" "$UNIT" >"$work/verify/evenkeel.service"
  equals "systemd-analyze verify has nothing to say" "" \
    "$(systemd-analyze verify --man=no "$work/verify/evenkeel.service" 2>&1 | grep evenkeel || true)"
  check "systemd-analyze security: 2.0 or better" systemd-analyze security --offline=true --threshold=20 "$UNIT"
}

finish() {
  systemctl --user exit >/dev/null 2>&1 || true
  kill "$demo" 2>/dev/null || true
  wait || true
  [ "$failed" -eq 0 ] || { echo "--- the manager's last lines"; tail -n 40 "$work/manager.log"; }
  rm -rf "$work"
}

[ "${EVENKEEL_IN_NAMESPACE-}" = 1 ] || outside

work=$(mktemp -d)
binary=$(realpath "${CARGO_TARGET_DIR:-target}")/debug/evenkeel
config=$work/evenkeel.yaml
port=$(free_port)
demo=
endpoint=
trap finish EXIT
unit_is_sound
start_endpoint
write_config one.test
write_unit
start_manager
start_is_ready
reload_changes_and_survives
crash_is_restarted
upgrade_keeps_the_unit
failed_upgrade_keeps_the_unit
crash_refuses_nobody
upgrade_once >/dev/null
stop_finishes_requests
idle_stop_is_quick
sockets_are_taken
taken_port_fails_the_start
invalid_config_is_not_restarted
summary
