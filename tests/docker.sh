#!/usr/bin/env bash
# The image as people use it: built, run read-only and without any capability, asked through a published port, checked,
# reloaded, restarted, stopped; and `make demo` on a fresh system. Base images come from Debian's packages (debootstrap)
# and this machine's Rust toolchain, so that no image registry is needed.
#
#   PROFILE=dev tests/docker.sh     builds the image faster, to test the image and not the binary in it
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tests/lib.sh
. tests/lib.sh

readonly BASE=evenkeel-test-toolchain
readonly IMAGE=evenkeel-test
readonly NETWORK=evenkeel-test-$$
readonly SUITE="Docker suite"

docker info >/dev/null 2>&1 || skip_all "$SUITE" "no Docker engine answers here"
export DOCKER_BUILDKIT=${DOCKER_BUILDKIT-$(docker buildx version >/dev/null 2>&1 && echo 1 || echo 0)}

# A minimal Debian with this machine's Rust toolchain and its certificates; kept for the next run.
make_base() {
  docker image inspect "$BASE" >/dev/null 2>&1 && return
  command -v debootstrap >/dev/null 2>&1 || apt-get install -qq -y debootstrap >/dev/null 2>&1 \
    || skip_all "$SUITE" "debootstrap is not here and cannot be installed"
  local root sysroot
  root=$work/root
  sysroot=$(rustc --print sysroot)
  echo "making the base image $BASE with debootstrap (a minute or two)"
  debootstrap --variant=minbase --include=ca-certificates,make bookworm "$root" >"$work/debootstrap.log" 2>&1 \
    || skip_all "$SUITE" "debootstrap failed: $(tail -n 1 "$work/debootstrap.log")"
  cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$root/etc/ssl/certs/ca-certificates.crt"
  tar -C "$sysroot" --exclude=share/doc --exclude=lib/rustlib/src -c bin lib | tar -C "$root/usr/local" -x
  tar -C "$root" -c . | docker import --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin' - "$BASE" >/dev/null
}

build_image() {
  echo "building the image (profile ${PROFILE:-release})"
  docker build --network host --build-arg BUILD_IMAGE="$BASE" --build-arg PROFILE="${PROFILE:-release}" \
    -t "$IMAGE" . >"$work/build.log" 2>&1 || { fail "the image builds" "$(tail -n 20 "$work/build.log")"; summary; exit 1; }
  pass "the image builds"
}

run() { # NAME ARGS...: a container of ours, removed at the end
  local name=$NETWORK-$1
  shift
  containers+=("$name")
  docker run -d --name "$name" --network "$NETWORK" "$@" >/dev/null
}

write_config() { # HOST HEADER, to tell one config from another
  printf '%s\n' 'listeners: [{ address: ":8080" }]' 'routes: [{ pool: web }]' \
    "pools: { web: { endpoints: [\"$backend:8080\"], host: $1 } }" 'server: { drain: 8s }' >"$work/evenkeel.yaml"
}

get() { curl -sS --max-time 15 "http://127.0.0.1:$port$1"; }
serves() { get / | grep -q "Hello from"; }
sees_host() { get / | grep -q "^host: $1"; }
is_healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$proxy")" = healthy ]; }
is_demo_healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$backend")" = healthy ]; }
published() { docker port "$proxy" 8080/tcp | sed -n 's/^0.0.0.0://p'; }

image_is_small_and_bare() {
  local size
  size=$(docker image inspect -f '{{.Size}}' "$IMAGE")
  check "the image is below 60 MB (it has $((size / 1000000)) MB)" test "$size" -lt 60000000
  equals "it does not run as root" 65532:65532 "$(docker image inspect -f '{{.Config.User}}' "$IMAGE")"
  equals "it stops by SIGTERM" SIGTERM "$(docker image inspect -f '{{.Config.StopSignal}}' "$IMAGE")"
  if docker run --rm --entrypoint /bin/sh "$IMAGE" -c true 2>/dev/null; then
    fail "it has no shell"
  else
    pass "it has no shell"
  fi
  contains "it says its version" "evenkeel 0." "$(docker run --rm "$IMAGE" --version)"
}

config_is_checked() {
  local code=0
  printf 'listen: 0.0.0.0:8080\nendpoint: [typo]\n' >"$work/wrong.yaml"
  docker run --rm -v "$work/wrong.yaml:/etc/evenkeel/evenkeel.yaml:ro" "$IMAGE" check >/dev/null 2>&1 || code=$?
  equals "an invalid config exits 78" 78 "$code"
}

proxy_serves() {
  run backend "$IMAGE" demo --listen 0.0.0.0:8080
  check "the demo's health check passes" wait_for 30 is_demo_healthy
  write_config one.test
  run proxy --read-only --cap-drop ALL --security-opt no-new-privileges -p 8080 \
    -v "$work/evenkeel.yaml:/etc/evenkeel/evenkeel.yaml:ro" "$IMAGE"
  port=$(published)
  check "it serves: read-only, no capability, endpoint by container name" wait_for 15 serves
  check "its health check passes" wait_for 30 is_healthy
  contains "the access log is on standard output, in JSON" '"status":200' "$(docker logs "$proxy" 2>/dev/null)"
  contains "events are on standard error" '"message":"ready"' "$(docker logs "$proxy" 2>&1 >/dev/null)"
}

hup_reloads() {
  write_config two.test
  docker kill -s HUP "$proxy" >/dev/null
  check "HUP brings the new config in" wait_for 5 sees_host two.test
}

commands_work_inside() {
  local code=0
  inside() { docker exec "$proxy" /usr/bin/evenkeel "$@" 2>&1; }
  write_config three.test
  contains "a reload says what it has done" "generation 3" "$(inside reload || true)"
  check "and has done it" sees_host three.test
  printf 'listen: 0.0.0.0:8080\nendpoint: [typo]\n' >"$work/evenkeel.yaml"
  inside reload >"$work/refused" || code=$?
  equals "a reload of an invalid config exits 78" 78 "$code"
  contains "and says why" "endpoint" "$(cat "$work/refused")"
  check "and changes nothing" sees_host three.test
  write_config three.test
  contains "an upgrade is refused: the container would end with its first process" "first process of its container" \
    "$(inside upgrade || true)"
  check "and changes nothing" sees_host three.test
}

restart_serves() {
  docker kill -s KILL "$proxy" >/dev/null
  docker start "$proxy" >/dev/null
  port=$(published)
  check "it serves again after a kill, the old admin socket still there" wait_for 15 serves
  check "and becomes healthy again" wait_for 30 is_healthy
}

stop_is_graceful() {
  local answer begin
  get '/slow?ms=3000' >"$work/slow" 2>&1 &
  answer=$!
  sleep 0.5 # The request must be on its way to the endpoint; nothing outside shows when it is.
  begin=$SECONDS
  docker stop "$proxy" >/dev/null
  if wait "$answer"; then pass "docker stop lets a slow request finish"; else fail "docker stop lets a slow request finish"; fi
  contains "with its whole answer" "Hello from" "$(cat "$work/slow")"
  check "within the engine's 10 s" test $((SECONDS - begin)) -le 8
  equals "and exits 0" 0 "$(docker inspect -f '{{.State.ExitCode}}' "$proxy")"
}

# The promise of the README: a fresh clone, one command, five minutes.
fresh_clone_demo() {
  local name=$NETWORK-fresh begin
  containers+=("$name")
  begin=$SECONDS
  git archive HEAD >"$work/clone.tar"
  docker create --name "$name" --network host -w /clone "$BASE" \
    make demo ARGS="--listen 127.0.0.1:$fresh_port" >/dev/null
  docker cp - "$name:/clone" <"$work/clone.tar" 2>/dev/null || { mkdir -p "$work/clone" \
    && tar -C "$work/clone" -xf "$work/clone.tar" && docker cp "$work/clone" "$name:/clone" >/dev/null; }
  docker start "$name" >/dev/null
  port=$fresh_port
  if wait_for 300 serves; then
    pass "make demo on a fresh Debian: first balanced request after $((SECONDS - begin)) s"
  else
    fail "make demo on a fresh Debian: first balanced request within 300 s" "$(docker logs "$name" 2>&1 | tail -n 15)"
  fi
}

finish() {
  if [ "$failed" -gt 0 ]; then
    for name in "${containers[@]}"; do echo "--- $name"; docker logs "$name" 2>&1 | tail -n 15; done
  fi
  [ ${#containers[@]} -eq 0 ] || docker rm -f -v "${containers[@]}" >/dev/null 2>&1 || true
  docker network rm "$NETWORK" >/dev/null 2>&1 || true
  rm -rf "$work"
}

work=$(mktemp -d)
chmod 755 "$work"
containers=()
backend=$NETWORK-backend
proxy=$NETWORK-proxy
port=
fresh_port=$(free_port)
trap finish EXIT
make_base
docker network create "$NETWORK" >/dev/null
build_image
image_is_small_and_bare
config_is_checked
proxy_serves
hup_reloads
commands_work_inside
restart_serves
stop_is_graceful
fresh_clone_demo
summary
