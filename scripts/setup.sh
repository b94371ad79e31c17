#!/usr/bin/env bash
# Installs what building evenkeel needs beside Rust: cmake and a C compiler, for the zlib, zstd and allocator sources
# that some crates compile. Does nothing, and needs no network, where all of it is there.
#
# `setup.sh tests` installs what single tests need as well; where that cannot be had, they are skipped, and say so.
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
# Prometheus and promtool without their package, which would start a server on the machine.
fetch_prometheus() {
  local tools folder
  tools=$(cd "$(dirname "$0")/.." && pwd)/target/tools/bin
  export PATH="$PATH:$tools"
  ! command -v promtool >/dev/null 2>&1 || ! command -v prometheus >/dev/null 2>&1 || return 0
  command -v apt-get >/dev/null 2>&1 || return 1
  say "fetching prometheus into target/tools"
  folder=$(mktemp -d)
  chmod 0755 "$folder"
  (
    cd "$folder"
    apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }
    dpkg-deb -x prometheus_*.deb . && install -D -t "$tools" usr/bin/prometheus usr/bin/promtool
  ) >/dev/null 2>&1 && rm -r "$folder"
}

optional=()
if [ "${1-}" = tests ]; then
  command -v valgrind >/dev/null 2>&1 || optional+=(valgrind)
  command -v strace >/dev/null 2>&1 || optional+=(strace)
  command -v dnsmasq >/dev/null 2>&1 || optional+=(dnsmasq-base)
  command -v nginx >/dev/null 2>&1 || [ -x /usr/sbin/nginx ] || optional+=(nginx-light)
  fetch_prometheus || say "not to be had: prometheus. Tests that need it are skipped."
fi
[ $((${#packages[@]} + ${#optional[@]})) -gt 0 ] || exit 0

# unavailable WHY: ends, unless only tests want it.
unavailable() {
  if [ ${#packages[@]} -gt 0 ]; then
    say "missing: ${packages[*]}. $1"
    exit 1
  fi
  say "missing: ${optional[*]}. $1 Tests that need it are skipped."
  exit 0
}

command -v apt-get >/dev/null 2>&1 ||
  unavailable "There is no apt-get here: install them with your system's package manager."

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null 2>&1 ||
    unavailable "Not root and no sudo here: ask for 'apt-get install ${packages[*]} ${optional[*]}'."
  as_root=(sudo)
fi

install() {
  [ $# -eq 0 ] ||
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

# The package of nginx starts a server, unless a policy forbids it.
without_services() {
  local policy=/usr/sbin/policy-rc.d status=0
  if [ -e "$policy" ]; then "$@"; return; fi
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod +x "$policy"
  "$@" || status=$?
  "${as_root[@]}" rm "$policy"
  return "$status"
}

say "installing with apt-get: ${packages[*]} ${optional[*]}"
"${as_root[@]}" apt-get update -qq || [ ${#packages[@]} -eq 0 ]
install "${packages[@]}"
without_services install "${optional[@]}" || say "not to be had: ${optional[*]}. Tests that need it are skipped."
