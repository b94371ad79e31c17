#!/usr/bin/env bash
# Installs a binary, its manual pages and its completions: install.sh BINARY. PREFIX is where (/usr/local), DESTDIR goes
# before it, for packages.
set -euo pipefail

binary=${1:?usage: install.sh BINARY}
if [ ! -x "$binary" ]; then
  echo "install.sh: there is no $binary: run make release first" >&2
  exit 1
fi
readonly to=${DESTDIR-}${PREFIX-/usr/local}
pages=$(mktemp -d)
trap 'rm -r "$pages"' EXIT

# complete SHELL FILE
complete() {
  "$binary" completions "$1" >"$pages/completions"
  install -D -m 0644 "$pages/completions" "$to/share/$2"
}

# Without its symbols, a fifth of the size.
install -D -s -m 0755 "$binary" "$to/bin/evenkeel"
complete bash bash-completion/completions/evenkeel
complete zsh zsh/site-functions/_evenkeel
complete fish fish/vendor_completions.d/evenkeel.fish
rm "$pages/completions"
"$binary" man "$pages"
install -D -m 0644 -t "$to/share/man/man1" "$pages"/*.1
