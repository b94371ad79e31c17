#!/usr/bin/env bash
# Mutated requests through evenkeel, nginx and HAProxy, side by side (run.py), and the same ones past
# http_desync_guardian: run.sh [--seed N] [--mutations N]. The last line sums up.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/lib.sh
. tests/lib.sh

command -v python3 >/dev/null 2>&1 || skip_all "differential" "python3 is not here"
cargo build --locked --quiet
corpus=$(mktemp)
trap 'rm -f "$corpus"' EXIT
python3 tests/differential/corpus.py 1 4000 "$corpus"
printf 'http_desync_guardian: '
EVENKEEL_CORPUS=$corpus cargo test --locked --quiet --test codec -- --ignored --nocapture the_differential_corpus 2>&1 \
  | grep -E 'severe payloads|^test result'
EVENKEEL=${CARGO_TARGET_DIR:-target}/debug/evenkeel python3 tests/differential/run.py "$@"
