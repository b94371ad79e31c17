# shellcheck shell=bash
# What cells.py is for Python, for rows that are made of commands.

# cell ROW COLUMN COMMAND...: the command says what it has seen, and fails if that is wrong; 9 is for what is known to be
# missing.
cell() {
  local row=$1 column=$2 code output
  shift 2
  # Not as the condition of an `if`: there `set -e` would not end the command at its first failure.
  set +e
  output=$(set -e; "$@" 2>&1)
  code=$?
  set -e
  if [ "$code" -eq 0 ]; then
    printf 'ok      %s | %s | %s\n' "$row" "$column" "$output"
  elif [ "$code" -eq 9 ]; then
    printf 'no      %s | %s | %s\n' "$row" "$column" "$output"
  else
    printf 'FAILED  %s | %s | %s\n' "$row" "$column" "$(tail -n 1 <<<"$output")"
    printf '        %s\n' "${output//$'\n'/$'\n        '}"
  fi
}

# equal EXPECTED SEEN
equal() { [ "$1" = "$2" ] || { printf 'expected %.200s, saw %.200s\n' "$1" "$2"; return 1; }; }

# has PART TEXT
has() { case $2 in *"$1"*) ;; *) printf 'expected %s in %.300s\n' "$1" "$2"; return 1 ;; esac; }

sum() { sha256sum "$1" | cut -d' ' -f1; }

milliseconds() { echo $((${EPOCHREALTIME/./} / 1000)); }
