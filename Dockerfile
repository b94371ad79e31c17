# Two stages: a Rust toolchain builds the binary; the image that ships holds that binary, the C library it is linked
# with, and nothing else: no shell, no package manager.
#
#   docker build -t evenkeel .
#   docker run -p 8080:8080 -v ./evenkeel.yaml:/etc/evenkeel/evenkeel.yaml:ro evenkeel

# Any image with cargo, a C and C++ compiler or apt-get, and the C library the binary shall run with.
ARG BUILD_IMAGE=rust:1.95-slim-bookworm

FROM ${BUILD_IMAGE} AS build
# `dev` builds in a tenth of the time, for tests of the image itself.
ARG PROFILE=release
ENV CARGO_TARGET_DIR=/target
WORKDIR /src
COPY scripts/setup.sh scripts/setup.sh
RUN scripts/setup.sh

# The dependencies first, in a layer of their own: a change of evenkeel's sources does not build them again. Cargo wants all
# that the manifest names to be there, and looks at nothing of it but what it builds.
COPY Cargo.toml Cargo.lock ./
COPY crates/demo/Cargo.toml crates/demo/
COPY crates/prove/Cargo.toml crates/prove/
RUN mkdir src benches && echo 'fn main() {}' >src/main.rs && touch src/lib.rs \
    && for member in crates/*; do mkdir "$member/src" && touch "$member/src/lib.rs"; done \
    && for bench in $(sed -n '/^\[\[bench\]\]/,/^$/s/^name = "\(.*\)"/\1/p' Cargo.toml); do touch "benches/$bench.rs"; done \
    && cargo build --profile "$PROFILE" --locked && rm -r src crates/*/src
COPY crates crates
COPY src src
# cargo goes by modification times, and the copied sources may be older than the stand-ins above.
RUN find src crates -name '*.rs' -exec touch {} + && cargo build --profile "$PROFILE" --locked \
    && install -D -s /target/*/evenkeel /image/usr/bin/evenkeel

# The file tree of the final image. The C library is copied as the loader finds it.
COPY LICENSE /image/usr/share/doc/evenkeel/LICENSE
RUN ldd /image/usr/bin/evenkeel | grep -o '/[^ ]*' | while read -r library; do \
         install -D "$library" "/image$library"; done \
    && install -d -m 1777 /image/tmp \
    && if [ -f /etc/ssl/certs/ca-certificates.crt ]; then \
         install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt; fi \
    && install -d /image/etc/evenkeel \
    && install -d -m 0750 -o 65532 -g 65532 /image/run/evenkeel \
    && install -d -m 0700 -o 65532 -g 65532 /image/var/lib/evenkeel \
    && echo 'evenkeel:x:65532:65532:evenkeel:/:/usr/sbin/nologin' >/image/etc/passwd \
    && echo 'evenkeel:x:65532:' >/image/etc/group \
    && echo 'hosts: files dns' >/image/etc/nsswitch.conf

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="evenkeel" \
      org.opencontainers.image.description="A load balancer and HTTP reverse proxy" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image /
USER 65532:65532
# The admin socket, and what a rollback needs. Volumes, so that they can be written where the root file system is
# read-only.
VOLUME /run/evenkeel /var/lib/evenkeel
EXPOSE 8080
# A graceful stop; keep `server.drain` below the engine's own patience (docker stop: 10 s, or -t).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/usr/bin/evenkeel", "health"]
ENTRYPOINT ["/usr/bin/evenkeel"]
CMD ["run"]
