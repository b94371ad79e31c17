#!/usr/bin/env bash
# Builds evenkeel with the profile of a run under the loads of bench/, and compares it with the plain release build:
# pgo.sh [arguments for the comparison]. What it makes is target/pgo/evenkeel.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$PWD/target/pgo
host=$(rustc -vV | sed -n 's/^host: //p')
# Of the very LLVM that the compiler has: others do not read its profiles.
profdata=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
if [ ! -x "$profdata" ]; then
  echo "llvm-profdata is not here: rustup component add llvm-tools" >&2
  exit 1
fi
for tool in nginx h2load ab python3; do
  if ! PATH=$PATH:/usr/sbin command -v "$tool" >/dev/null 2>&1; then
    echo "$tool is not here: bench/setup.sh installs it" >&2
    exit 1
  fi
done

# With the target named, the flags are those of the program alone, not of what the build itself runs.
build() { RUSTFLAGS="$1" CARGO_TARGET_DIR="$work/build-$2" cargo build --locked --release --target "$host"; }

rm -rf "$work/raw"
build "-Cprofile-generate=$work/raw" instrumented
# Any processor will do: nothing is measured. Each process writes its profile as it ends.
bench/compare.py --peers training --build "training=$work/build-instrumented/$host/release/evenkeel" \
  --scenarios "100 B,10 kB,1 MB,upload,headers,1000 connections,new connections,TLS,HTTP/2,handshakes" \
  --rounds 1 --scale 0.3 >/dev/null
"$profdata" merge -o "$work/merged.profdata" "$work"/raw/*.profraw
build "-Cprofile-use=$work/merged.profdata" trained
cp "$work/build-trained/$host/release/evenkeel" "$work/evenkeel"

CARGO_TARGET_DIR=$PWD/target cargo build --locked --release
bench/compare.py --peers "evenkeel,evenkeel trained,nginx" --build "evenkeel trained=$work/evenkeel" "$@"
echo "built: $work/evenkeel"
