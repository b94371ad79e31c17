#!/usr/bin/env bash
# Judges the sources, builds, checks the shipped config files, and runs every test that needs nothing but this machine.
# A step that fails stops no other, unless it is the build. The end says what failed.
# shellcheck source=scripts/lint.sh
. "$(dirname "${BASH_SOURCE[0]}")/lint.sh"

build() {
  cargo build --workspace --locked --all-targets --quiet
}

# What sticky.yaml and spa.yaml name, everybody makes for themselves.
config_files() {
  local file STICKY_KEY PAGES
  STICKY_KEY=$(mktemp)
  PAGES=$(mktemp -d)
  export STICKY_KEY PAGES
  touch "$PAGES/404.html" "$PAGES/sorry.html"
  printf '%064d\n' 1 >"$STICKY_KEY"
  for file in conf/*.yaml; do
    "${CARGO_TARGET_DIR:-target}/debug/evenkeel" check -c "$file"
  done
  rm -r "$STICKY_KEY" "$PAGES"
}

# A guard that counts by valgrind.
counted() {
  command -v valgrind >/dev/null 2>&1 || skip "valgrind is not here (apt-get install valgrind)"
  scripts/"$1".sh
}

# Most tests wait more than they work.
export NEXTEST_TEST_THREADS=${NEXTEST_TEST_THREADS:-$(($(nproc) * 2))}

# `--test` of one suite, or `--tests` of all that is no documentation.
run_tests() {
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --locked --no-fail-fast "$@"
  else
    cargo test --locked --no-fail-fast "$@"
  fi
}

# Socket tests run on both engines: `native`, and `pingora` where that is asked for.
sockets_on_pingora() {
  EVENKEEL_TEST_ENGINE=pingora run_tests --test socket
}

required "build" build
step "shipped config files" config_files
step "instructions an operation takes" counted instructions
step "cache lines that workers write in common" counted sharing
suite "tests in the documentation" cargo test --workspace --locked --doc --quiet
suite "socket tests on the engine pingora" sockets_on_pingora
suite "all other tests" run_tests --workspace --tests

summary
