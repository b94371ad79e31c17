# shellcheck shell=bash
# Steps that run whatever came before them, and a summary at the end. To be sourced.
#
# A step is a function or a command. In a step every failing command ends that step (`set -e`), and nothing else.

steps_output=$(mktemp)
trap 'rm -f "$steps_output"' EXIT
steps_lines=()
steps_failed_tests=()
steps_blocked=
passed=0
failed=0
skipped=0

# The status of a step that could not run here.
readonly STEP_SKIPPED=77

# skip WHY: ends the step that calls it.
skip() {
  printf '   skipped: %s\n' "$*"
  exit "$STEP_SKIPPED"
}

# step NAME COMMAND...: counts as one check.
step() {
  steps_run "$@"
  case $steps_code in
    0) passed=$((passed + 1)) ;;
    "$STEP_SKIPPED") skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)) ;;
  esac
}

# suite NAME COMMAND...: a step that runs tests, each of which is counted, and named if it failed.
suite() {
  local before=$failed
  steps_run "$@"
  [ "$steps_code" -ne "$STEP_SKIPPED" ] || skipped=$((skipped + 1))
  steps_count_tests "$1"
  # It could not be built, or the runner itself failed.
  [ "$steps_code" -eq 0 ] || [ "$steps_code" -eq "$STEP_SKIPPED" ] || [ "$failed" -gt "$before" ] ||
    failed=$((failed + 1))
}

# required NAME COMMAND...: a step without which those behind it cannot run.
required() {
  step "$@"
  [ "$steps_code" -eq 0 ] || steps_blocked="$1 failed"
}

# One line for each step, the names of the tests that failed, and a last line in a form that people and CI read alike.
# The status says whether anything failed.
summary() {
  printf '\n== summary\n'
  printf '%s\n' "${steps_lines[@]}"
  if [ ${#steps_failed_tests[@]} -gt 0 ]; then
    printf '\nTests that failed:\n'
    printf '   %s\n' "${steps_failed_tests[@]}"
  fi
  printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  [ "$failed" -eq 0 ]
}

# Sets steps_code, and leaves what the command said in the file steps_output.
steps_run() {
  local name=$1 began=$SECONDS how
  shift
  : >"$steps_output"
  if [ -n "$steps_blocked" ]; then
    steps_code=$STEP_SKIPPED
    steps_lines+=("$(printf '%-8s %5s  %s' "not run" "" "$name: $steps_blocked")")
    return
  fi
  printf '== %s\n' "$name"
  (set -e; "$@") 2>&1 | tee "$steps_output"
  steps_code=${PIPESTATUS[0]}
  case $steps_code in
    0) how=ok ;;
    "$STEP_SKIPPED") how=skipped ;;
    *) how=FAILED ;;
  esac
  steps_lines+=("$(printf '%-8s %4ds  %s' "$how" $((SECONDS - began)) "$name")")
}

# Adds up the closing lines of nextest ("Summary [ 1.0s] 9 tests run: 8 passed, 1 failed, 2 skipped") and of Rust's own
# runner ("test result: ok. 8 passed; 1 failed; 2 ignored; ..."), and collects the names of what failed.
steps_count_tests() {
  local ran line
  ran=$(awk '
    /^ +Summary \[/ || /^test result: / {
      for (at = 2; at <= NF; at++) {
        if ($at ~ /^passed/) passed += $(at - 1)
        if ($at ~ /^(failed|exec|timed)/) failed += $(at - 1)
        if ($at ~ /^(skipped|ignored)/) skipped += $(at - 1)
      }
    }
    END { print passed + 0, failed + 0, skipped + 0 }' "$steps_output")
  read -r -a ran <<<"$ran"
  passed=$((passed + ran[0]))
  failed=$((failed + ran[1]))
  skipped=$((skipped + ran[2]))
  while IFS= read -r line; do
    steps_failed_tests+=("$1: $line")
  done < <(awk '
    /^ +Summary \[/ { closing = 1; next }
    closing && /^ +[A-Z]+ \[ *[0-9.]+s\] / { sub(/^[^]]*\] *(\([^)]*\) *)?/, ""); print }
    /^test .* \.\.\. FAILED$/ { print $2 }' "$steps_output" | sort -u)
}
