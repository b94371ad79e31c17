# shellcheck shell=bash
# An authority of the run, and certificates that it signs, in a folder.

# certificates FOLDER NAME...
certificates() {
  local name work=$1
  shift
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj "/CN=clients of evenkeel" \
    -addext keyUsage=critical,keyCertSign -keyout "$work/ca.key" -out "$work/ca.pem" 2>>"$work/openssl.log"
  for name in "$@"; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/$name.key" -out "$work/$name.csr" \
      -subj "/CN=$name" 2>>"$work/openssl.log"
    openssl x509 -req -in "$work/$name.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 90 \
      -extfile <(printf 'subjectAltName=DNS:%s\nextendedKeyUsage=serverAuth' "$name") -out "$work/$name.pem" \
      2>>"$work/openssl.log"
  done
}
