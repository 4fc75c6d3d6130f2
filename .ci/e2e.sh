#!/usr/bin/env bash
# Runs programs built by the real nvcc, with the static CUDA runtime, against rrto-gpud on loopback.
#
# Usage: .ci/e2e.sh [cpu|cuda]: which device the server has; the software GPU by default. With cuda each program also
# runs locally, on the real driver, and what it gets back must be the same to the bit.
set -euo pipefail
cd "$(dirname "$0")/.."

device=${1-cpu}
. .ci/lib.sh
BUILD=$TARGET_DIR/e2e
# Far more than any program takes; a program that hangs shall fail and not hang the run.
LIMIT_S=180
# What every program has to be right in, the one that all others are compared with first.
MODES=(percall pipeline replay)

NVCC_ROOT=$(.ci/nvcc.sh)
export NVCC_ROOT
mkdir -p "$BUILD"

cargo build --release --locked --package rrto-gpud --package rrto-preload
gpud=$TARGET_DIR/release/rrto-gpud
rrto=$TARGET_DIR/release/rrto

# All kernels in netem/cuda, and host threads once more with a default stream each.
programs=()
build_programs() {
    local source name pids=()
    for source in netem/cuda/*.cu; do
        name=$(basename "$source" .cu)
        programs+=("$name")
        compile -L"$NVCC_ROOT/lib" "$source" "$BUILD/$name" &
        pids+=($!)
        if [ "${#pids[@]}" -ge 2 ]; then
            wait "${pids[0]}"
            pids=("${pids[@]:1}")
        fi
    done
    programs+=(threads_ptds)
    compile -L"$NVCC_ROOT/lib" --default-stream per-thread netem/cuda/threads.cu "$BUILD/threads_ptds" &
    pids+=($!)
    for pid in "${pids[@]}"; do wait "$pid"; done
    cc -O2 rrto-preload/demo/cnn.c -o "$BUILD/cnn" -lm -ldl
    cc -O1 netem/cuda/misuse.c -o "$BUILD/misuse" -ldl
}

# remote MODE COMMAND...: runs it with its GPU on the server.
remote() {
    local mode=$1
    shift
    timeout "$LIMIT_S" "$rrto" run --server "$server_address" --certs "$SCRATCH/certs" --mode "$mode" -- "$@"
}

# verdict_of MODE NAME: the program itself says PASS, and its raw outputs are kept.
verdict_of() {
    RRTO_OUTPUT="$SCRATCH/$2.$1" remote "$1" "$BUILD/$2" >"$SCRATCH/$2.$1.txt" && tail -n 1 "$SCRATCH/$2.$1.txt" | grep -qx PASS
    local status=$?
    [ "$status" -eq 0 ] || cat "$SCRATCH/$2.$1.txt"
    return "$status"
}

same_output() {
    cmp "$SCRATCH/$3.$1" "$SCRATCH/$3.$2"
}

# errors_of MODE: what the program prints is what the real driver answered.
errors_of() {
    local how
    {
        remote "$1" "$BUILD/errors"
        for how in illegal trap misaligned assert; do remote "$1" "$BUILD/errors" "$how"; done
    } >"$SCRATCH/errors.$1.txt"
    diff netem/cuda/errors.expected "$SCRATCH/errors.$1.txt"
}

# misuse_of MODE: calls that are wrong are answered as by the real driver, as far as netem/cuda/misuse.differs goes.
misuse_of() {
    remote "$1" "$BUILD/misuse" -j 4 >"$SCRATCH/misuse.$1.txt" && .ci/misuse "$device" "$SCRATCH/misuse.$1.txt"
}

demo_of() {
    remote "$1" "$BUILD/cnn" rrto-preload/demo/cnn.ptx 10 >"$SCRATCH/cnn.$1.txt"
}

demo_hash() {
    grep -o '"output_hash":"[0-9a-f]*"' "$SCRATCH/cnn.$1.txt"
}

# same_hash MODE MODE
same_hash() {
    [ -n "$(demo_hash "$1")" ] && [ "$(demo_hash "$1")" = "$(demo_hash "$2")" ]
}

# run_locally NAME: on the real driver, for the comparison.
run_locally() {
    RRTO_OUTPUT="$SCRATCH/$1.local" timeout "$LIMIT_S" "$BUILD/$1" | tail -n 1 | grep -qx PASS
}

# A process that never calls CUDA runs under the preload as it would without.
bystander() {
    [ "$(remote pipeline /bin/echo hello)" = hello ]
}

committed_ptx() {
    "$NVCC_ROOT/bin/nvcc" -O3 -arch=compute_75 -ptx rrto-preload/demo/cnn.cu -o "$SCRATCH/cnn.ptx"
    # Its comments name the build of the compiler.
    diff -I "^//" rrto-preload/demo/cnn.ptx "$SCRATCH/cnn.ptx"
}

soname() {
    readelf -d "$TARGET_DIR/release/librrto_preload.so" | grep 'SONAME.*\[libcuda\.so\.1\]'
}

# A minute among robots and strangers, with a server of its own and the software GPU. The command is the one that the tests have built.
soak() {
    timeout "$LIMIT_S" cargo run --quiet --locked --package rrto-netem -- soak --seed 1 --minutes 1 --bin "$TARGET_DIR/release"
}

build_programs
"$rrto" certs "$SCRATCH/certs" >/dev/null
start_server "$gpud" "$device" "$SCRATCH/certs"

check "the preload library's SONAME is libcuda.so.1" soname
check "the demo's committed PTX is what nvcc makes of its source" committed_ptx
check "a program without CUDA is left alone" bystander
for name in "${programs[@]}"; do
    [ "$name" = errors ] && continue
    for mode in "${MODES[@]}"; do
        check "$name, $mode" verdict_of "$mode" "$name"
    done
    for mode in "${MODES[@]:1}"; do
        check "$name, $mode gives the same bits as ${MODES[0]}" same_output "${MODES[0]}" "$mode" "$name"
    done
    if [ "$device" = cuda ]; then
        check "$name, locally" run_locally "$name"
        check "$name, local and remote give the same bits" same_output local "${MODES[0]}" "$name"
    fi
done
for mode in "${MODES[@]}"; do
    check "errors are the real driver's, $mode" errors_of "$mode"
    check "misuse is answered as by the real driver, $mode" misuse_of "$mode"
    check "demo, $mode" demo_of "$mode"
done
for mode in "${MODES[@]:1}"; do
    check "demo, $mode gives the same bits as ${MODES[0]}" same_hash "${MODES[0]}" "$mode"
done
check "the server is still there" server_alive
# It has nothing to do with the device.
[ "$device" = cuda ] || check "a server bears what robots and strangers do to it" soak
finish
