#!/usr/bin/env bash
# Fuzzes the readers of foreign bytes, each target for a while: fuzz.sh [seconds [target...]].
#
# Needs the nightly toolchain (rustup toolchain install nightly) and a C++ compiler. A crash ends it; its input is in
# fuzz/artifacts: copied to fuzz/corpus/TARGET under a telling name, it is a regression test from then on.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly CARGO_FUZZ=0.13.1

seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(request_head response_head chunked_body proxy_protocol route config)

if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "fuzzing needs the nightly toolchain: rustup toolchain install nightly" >&2
  exit 1
fi
tools=$PWD/target/tools
export PATH="$PATH:$tools/bin"
if ! cargo fuzz --version >/dev/null 2>&1; then
  printf 'installing cargo-fuzz %s into target/tools\n' "$CARGO_FUZZ"
  CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --root "$tools" --version "$CARGO_FUZZ" cargo-fuzz
fi

# What is found goes to a folder of its own, so that the kept corpus stays small and readable. There is no unsafe code
# to watch, so no sanitizer slows it down.
for target in "${targets[@]}"; do
  printf '== %s, %s s\n' "$target" "$seconds"
  found=fuzz/artifacts/found/$target
  mkdir -p "$found"
  cargo +nightly fuzz run --sanitizer none "$target" "$found" "fuzz/corpus/$target" -- \
    -max_total_time="$seconds" -max_len=8192 -print_final_stats=1
done
