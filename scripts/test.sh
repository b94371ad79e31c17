#!/usr/bin/env bash
# Builds, checks the shipped config files, and runs every test that needs nothing but this machine. The test runner
# comes last, so that its summary is the last thing read.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '== %s\n' "$*"; }

step "build"
cargo build --locked --all-targets --quiet

step "shipped config files"
checked=0
for file in conf/*.yaml; do
  [ -e "$file" ] || continue
  "${CARGO_TARGET_DIR:-target}/debug/evenkeel" check -c "$file"
  checked=$((checked + 1))
done
[ "$checked" -gt 0 ] || { echo "conf/ holds no YAML file" >&2; exit 1; }

step "instructions an operation takes"
scripts/instructions.sh

# Socket tests run on both carriers: HTTP/1.1 goes by the lane, and on Pingora's ProxyHttp where that is asked for.
step "tests"
if cargo nextest --version >/dev/null 2>&1; then
  cargo test --locked --doc --quiet
  EVENKEEL_TEST_CARRIER=pingora cargo nextest run --locked --no-fail-fast --test socket
  cargo nextest run --locked --no-fail-fast
else
  EVENKEEL_TEST_CARRIER=pingora cargo test --locked --no-fail-fast --test socket
  cargo test --locked --no-fail-fast
fi
