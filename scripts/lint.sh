#!/usr/bin/env bash
# Everything that judges the sources without running them. A tool that is missing and cannot be installed from here is
# named with the reason; one that is there must pass. test.sh sources this for the steps, and adds its own.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
. scripts/steps.sh

readonly CARGO_DENY=0.20.2

format() {
  cargo fmt --version >/dev/null 2>&1 || skip "rustfmt is not part of this toolchain"
  cargo fmt --all --check
}

clippy() {
  cargo clippy --version >/dev/null 2>&1 || skip "clippy is not part of this toolchain"
  cargo clippy --workspace --locked --all-targets --quiet -- -D warnings
}

dependencies() {
  local tools=$PWD/target/tools
  export PATH="$PATH:$tools/bin"
  if ! cargo deny --version >/dev/null 2>&1; then
    printf '   installing cargo-deny %s into target/tools\n' "$CARGO_DENY"
    # Its own release settings would take longer than everything else here together.
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
      CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --root "$tools" --version "$CARGO_DENY" cargo-deny
    rm -rf "$tools/build"
  fi
  cargo deny --workspace --locked --log-level error check --hide-inclusion-graph bans licenses sources
}

documentation() {
  RUSTDOCFLAGS="-D warnings" cargo doc --workspace --locked --no-deps --quiet
}

# The layer of the dependencies is built with stand-ins: whatever the manifest names has to be among them.
dockerfile() {
  local stand_ins context host copied
  stand_ins=$(sed -n '/^RUN mkdir src/,/cargo build/p' Dockerfile | sed 's/^RUN //; /cargo build/d; s/ \\$//')
  context=$(mktemp -d)
  while read -r -a copied; do
    install -D -m 0644 -t "$context/${copied[-1]}" "${copied[@]:0:${#copied[@]}-1}"
  done < <(sed -n 's/^COPY \(.*Cargo\..*\)/\1/p' Dockerfile)
  host=$(rustc -vV | sed -n 's/^host: //p')
  (cd "$context" && sh -euc "$(tr '\n' ' ' <<<"$stand_ins")" && cargo fetch --locked --quiet --target "$host")
  rm -r "$context"
}

shell_scripts() {
  local scripts=(.ci/run scripts/*.sh bench/*.sh tests/*.sh tests/*/*.sh tests/*/*/*.sh) script
  for script in "${scripts[@]}"; do bash -n "$script"; done
  command -v shellcheck >/dev/null 2>&1 ||
    skip "shellcheck is not here (apt-get install shellcheck); the syntax of ${#scripts[@]} scripts was checked"
  shellcheck -x "${scripts[@]}"
}

step "format" format
step "clippy" clippy
step "licences, bans and sources of the dependencies" dependencies
step "documentation" documentation
step "Dockerfile" dockerfile
step "shell scripts" shell_scripts

[ "${BASH_SOURCE[0]}" != "$0" ] || summary
