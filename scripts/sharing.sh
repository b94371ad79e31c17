#!/usr/bin/env bash
# Counts the cache lines that workers write in common, in an optimised build, and compares them with those recorded in
# benches/sharing. EVENKEEL_WRITE_EXPECTED=1 writes the record anew.
set -euo pipefail
cd "$(dirname "$0")/.."

# Before minutes are spent on a build.
if ! command -v valgrind >/dev/null 2>&1; then
  echo "   skipped: valgrind is not here (apt-get install valgrind)"
  exit 0
fi
cargo bench --locked --quiet --bench sharing
