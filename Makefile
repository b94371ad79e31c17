# Every target does its own set-up. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint release install docker-test systemd-test clients h2spec autobahn pressure differential chaos timing prove bench bench-pools growth fuzz instructions sharing pgo

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install cmake and a C compiler with apt-get, if they are missing
	@scripts/setup.sh

demo: setup ## build quickly, then balance over three built-in endpoints
	cargo build --locked
	@"$${CARGO_TARGET_DIR:-target}/debug/evenkeel" demo $(ARGS)

test: ## all that CI runs: format, lints, licences, docs, config files, tests; what failed is said at its end
	@scripts/setup.sh tests
	@scripts/test.sh

lint: setup ## only the part of `make test` that runs nothing
	@scripts/lint.sh

instructions: setup ## only the part of `make test` that counts instructions; EVENKEEL_WRITE_EXPECTED=1 accepts them
	@scripts/instructions.sh

sharing: setup ## only the part of `make test` that counts what workers write in common; accepted the same way
	@scripts/sharing.sh

release: setup ## build target/release/evenkeel, optimised to the last
	cargo build --locked --release

install: ## what make release has built, with manual pages and completions to PREFIX (/usr/local); DESTDIR for packages
	@scripts/install.sh "$${CARGO_TARGET_DIR:-target}/release/evenkeel"

docker-test: ## build the image and use it as people do (needs a Docker engine)
	@tests/docker.sh

systemd-test: setup ## start, reload, stop and crash under a real systemd
	@tests/systemd.sh

clients: setup ## real clients through the proxy, plain and over TLS: curl, nghttp2, Python, Java, Node, gRPC
	@tests/clients/run.sh

differential: setup ## mutated requests through evenkeel, nginx and HAProxy side by side; ARGS="--seed 2" for others
	@tests/differential/run.sh $(ARGS)

chaos: setup ## 100,000 POSTs while endpoints refuse, reset, close, hang and trickle: none arrives twice; as many GETs
	cargo test --locked --test socket -- --ignored --nocapture of_a_hundred_thousand

timing: setup ## rate limits for 20 s, and event streams beside compression: takes a machine with nothing else to do
	cargo test --locked --test socket -- --ignored --nocapture --test-threads 1 for_twenty_seconds

prove: release ## 1,000 reloads, 100 upgrades, restarts, signals, dead endpoints, DNS outages, under clients that retry nothing
	@"$${CARGO_TARGET_DIR:-target}/release/evenkeel" prove --reloads 1000 --upgrades 100 --failed-upgrades 50 \
	  --restarts 20 --dead-endpoints 40 --signals 40 --dns-outages 40 $(ARGS)

h2spec: setup ## h2spec, the conformance suite of HTTP/2, over h2c and TLS (H2SPEC names its binary)
	@tests/h2spec.sh

autobahn: setup ## the Autobahn WebSocket suite, direct, proxied, and over TLS (needs Python 2.7)
	@tests/autobahn/run.sh

pressure: setup ## slowhttptest's attacks, those on HTTP/2, and more clients than descriptors; ARGS="http2" for some
	@tests/pressure/run.sh $(ARGS)

pgo: setup ## target/pgo/evenkeel: built with the profile of a run under the loads of `make bench`, and compared
	@scripts/pgo.sh $(ARGS)

bench: release ## evenkeel beside its peers, as docs/performance.md has it; ARGS="--rounds 1 --scale 0.1" for a first look
	@bench/setup.sh
	@bench/compare.py --write $(ARGS)

bench-pools: release ## pools with bad endpoints beside nginx, HAProxy and Envoy, as docs/balance.md has it; ARGS="--scale 0.3" for a try
	@PEERS=pools bench/setup.sh
	@bench/pools.py --write $(ARGS)

growth: release ## how the cost of a request grows, as docs/growth.md has it; ARGS="--parts routes,reloads" for some
	@PEERS=no bench/setup.sh
	@bench/growth.py --write $(ARGS)

fuzz: setup ## a minute for each fuzz target (needs nightly Rust); ARGS="600 request_head" for more
	@scripts/fuzz.sh $(ARGS)
