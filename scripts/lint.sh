#!/usr/bin/env bash
# Everything that judges the sources without running them. A tool that is missing and cannot be installed from here is
# named with the reason; one that is there must pass.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly CARGO_DENY=0.20.2

step() { printf '== %s\n' "$*"; }
skip() { printf '   skipped: %s\n' "$*"; }

step "format"
if cargo fmt --version >/dev/null 2>&1; then
  cargo fmt --all --check
else
  skip "rustfmt is not part of this toolchain"
fi

step "clippy"
if cargo clippy --version >/dev/null 2>&1; then
  cargo clippy --locked --all-targets --quiet -- -D warnings
else
  skip "clippy is not part of this toolchain"
fi

step "licences, bans and sources of the dependencies"
tools=$PWD/target/tools
export PATH="$PATH:$tools/bin"
if ! cargo deny --version >/dev/null 2>&1; then
  printf '   installing cargo-deny %s into target/tools\n' "$CARGO_DENY"
  # Its own release settings would take longer than everything else here together.
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --root "$tools" --version "$CARGO_DENY" cargo-deny
  rm -rf "$tools/build"
fi
cargo deny --locked --log-level error check --hide-inclusion-graph bans licenses sources

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet

step "Dockerfile"
# The layer of the dependencies is built with stand-ins: whatever the manifest names has to be among them.
stand_ins=$(sed -n '/^RUN mkdir src/,/cargo build/p' Dockerfile | sed 's/^RUN //; /cargo build/d; s/ \\$//')
context=$(mktemp -d)
cp Cargo.toml Cargo.lock "$context"
host=$(rustc -vV | sed -n 's/^host: //p')
(cd "$context" && sh -euc "$(tr '\n' ' ' <<<"$stand_ins")" && cargo fetch --locked --quiet --target "$host")
rm -r "$context"

step "shell scripts"
scripts=(.ci/run scripts/*.sh bench/*.sh tests/*.sh tests/*/*.sh tests/*/*/*.sh)
for script in "${scripts[@]}"; do bash -n "$script"; done
if command -v shellcheck >/dev/null 2>&1; then
  shellcheck -x "${scripts[@]}"
else
  skip "shellcheck is not here (apt-get install shellcheck); the syntax of ${#scripts[@]} scripts was checked"
fi
