# shellcheck shell=bash
# What the shell suites share: count checks, wait for conditions, close with one line that says how it went.

passed=0
failed=0
skipped=0

pass() { passed=$((passed + 1)); printf 'ok      %s\n' "$1"; }
fail() { failed=$((failed + 1)); printf 'FAILED  %s\n' "$1"; [ $# -lt 2 ] || printf '        %s\n' "${@:2}"; }
skip() { skipped=$((skipped + 1)); printf 'skipped %s: %s\n' "$1" "$2"; }

# check NAME COMMAND...: passes when the command does; shows its output when it does not.
check() {
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then pass "$name"; else fail "$name" "$output"; fi
}

# equals NAME EXPECTED ACTUAL
equals() {
  if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "expected: $2" "actual:   $3"; fi
}

# contains NAME PART TEXT
contains() {
  case $3 in *"$2"*) pass "$1" ;; *) fail "$1" "expected to find: $2" "in: $3" ;; esac
}

# wait_for SECONDS COMMAND...: true as soon as the command is.
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep "${PAUSE:-0.05}"
  done
}

# The last line in a form that people and CI read alike; the status says whether anything failed.
summary() {
  printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  [ "$failed" -eq 0 ]
}

# The whole suite cannot run here: say why, and succeed, since nothing is broken.
skip_all() {
  skip "$1" "$2"
  summary
  exit 0
}

# A port nobody listens on. Bash's own /dev/tcp asks, so that no tool is needed.
free_port() {
  local port
  for _ in $(seq 100); do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
  return 1
}
