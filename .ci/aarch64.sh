#!/usr/bin/env bash
# Builds the robot's side (the preload library and `rrto`) for aarch64 and runs an aarch64 CUDA program with it, under
# qemu, against rrto-gpud on this machine.
#
# Needs Debian 12 and root, to install what is missing: a cross compiler, qemu, and Debian's Rust with its standard
# library for aarch64 (not needed where rustup's own aarch64 library is installed).
set -euo pipefail
cd "$(dirname "$0")/.."

readonly TARGET=aarch64-unknown-linux-gnu
. .ci/lib.sh
BUILD=$TARGET_DIR/e2e-aarch64
# An emulated program is some ten times slower.
LIMIT_S=120

# has_std: whether the Rust compiler that cargo would use can compile for the target.
has_std() {
    local libraries
    libraries=$("${RUSTC:-rustc}" --print target-libdir --target "$TARGET" 2>/dev/null) && compgen -G "$libraries/libstd-*" >/dev/null
}

# install_tools: the Debian packages that are missing.
install_tools() {
    local packages=()
    command -v aarch64-linux-gnu-g++ >/dev/null || packages+=(g++-aarch64-linux-gnu libc6-dev-arm64-cross)
    command -v qemu-aarch64-static >/dev/null || packages+=(qemu-user-static)
    if ! has_std; then
        export RUSTC=/usr/bin/rustc
        [ -x "$RUSTC" ] && has_std || packages+=(rustc-web libstd-rust-web-dev:arm64)
    fi
    [ "${#packages[@]}" -gt 0 ] || return 0
    echo "installing ${packages[*]}"
    dpkg --add-architecture arm64
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >"$SCRATCH/apt.log" 2>&1 ||
        { tail -n 20 "$SCRATCH/apt.log" >&2; return 1; }
}

# build_client: the preload library and `rrto` for the target; its own target folder, as the compiler may be another.
build_client() {
    CARGO_TARGET_DIR=$TARGET_DIR/aarch64 \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc \
        cargo build --release --locked --target "$TARGET" --package rrto-preload
}

# All of the C library from the cross compiler's package: the one that Debian's Rust for aarch64 depends on is there
# too, is of another build, and where the dynamic linker is of one and libc of the other, pthread_create never returns.
emulate() {
    timeout "$LIMIT_S" qemu-aarch64-static -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH=/usr/aarch64-linux-gnu/lib "$@"
}

# remote MODE COMMAND...: what `rrto run` does, which cannot start an emulated program itself.
remote() {
    local mode=$1
    shift
    emulate -E LD_PRELOAD="$client/librrto_preload.so" -E RRTO_SERVER="$server_address" \
        -E RRTO_CERTS="$SCRATCH/certs" -E RRTO_MODE="$mode" "$@"
}

passes() {
    remote "$1" "$BUILD/$2" | tee "$SCRATCH/last" | tail -n 1 | grep -qx PASS || { cat "$SCRATCH/last"; return 1; }
}

is_aarch64() {
    readelf -h "$1" | grep 'Machine:.*AArch64'
}

soname() {
    readelf -d "$client/librrto_preload.so" | grep 'SONAME.*\[libcuda\.so\.1\]'
}

install_tools
build_client
client=$TARGET_DIR/aarch64/$TARGET/release
(unset RUSTC && cargo build --release --locked --package rrto-gpud --package rrto-preload)

NVCC_ROOT=$(.ci/nvcc.sh)
export NVCC_ROOT
libraries=$(.ci/nvcc.sh aarch64)/lib
mkdir -p "$BUILD"
programs=(vectoradd matmul streams_events)
for name in "${programs[@]}"; do
    compile -ccbin aarch64-linux-gnu-g++ -L"$libraries" "netem/cuda/$name.cu" "$BUILD/$name"
done
aarch64-linux-gnu-gcc -O2 rrto-preload/demo/cnn.c -o "$BUILD/cnn" -lm -ldl

"$TARGET_DIR/release/rrto" certs "$SCRATCH/certs" >/dev/null
start_server "$TARGET_DIR/release/rrto-gpud" cpu "$SCRATCH/certs"

check "the preload library is for aarch64" is_aarch64 "$client/librrto_preload.so"
check "its SONAME is libcuda.so.1" soname
check "rrto runs" emulate "$client/rrto" --version
for name in "${programs[@]}"; do
    check "$name on aarch64, pipeline" passes pipeline "$name"
done
check "vectoradd on aarch64, percall" passes percall vectoradd
check "demo on aarch64, pipeline" remote pipeline "$BUILD/cnn" rrto-preload/demo/cnn.ptx 5
check "the server is still there" server_alive
finish
