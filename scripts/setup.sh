#!/usr/bin/env bash
# Installs what building evenkeel needs beside Rust: cmake and a C compiler, for the zlib, zstd and allocator sources
# that some crates compile. Does nothing, and needs no network, where all of it is there.
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }

if ! command -v cargo >/dev/null 2>&1; then
  say "cargo is not there. Install Rust 1.95 or later (rustup, or your distribution's packages), then run this again."
  exit 1
fi

packages=()
command -v cmake >/dev/null 2>&1 || packages+=(cmake)
command -v make >/dev/null 2>&1 || packages+=(make)
if ! command -v cc >/dev/null 2>&1; then packages+=(gcc libc6-dev); fi
if ! command -v c++ >/dev/null 2>&1; then packages+=(g++); fi
[ ${#packages[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
  say "missing: ${packages[*]}. There is no apt-get here: install them with your system's package manager."
  exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null 2>&1; then
    say "missing: ${packages[*]}. Not root and no sudo here: ask for 'apt-get install ${packages[*]}'."
    exit 1
  fi
  as_root=(sudo)
fi

say "installing with apt-get: ${packages[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
