# Shared by the end-to-end scripts; to be sourced. Checks are printed and counted; a server is started and ended.
#
# Expects the current directory to be the repository's root.

# Where cargo builds, and we beside it.
TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}

# For whatever shall be gone at the end.
SCRATCH=$(mktemp -d)
trap 'stop_server; rm -rf "$SCRATCH"' EXIT

passed=0
failed=0

# check NAME COMMAND...: runs it with its output in a file, which is shown if it fails.
check() {
    local name=$1 log status=0
    shift
    log=$(mktemp "$SCRATCH/check.XXXXXX")
    "$@" >"$log" 2>&1 || status=$?
    if [ "$status" -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok     $name"
    else
        failed=$((failed + 1))
        echo "FAILED $name (status $status): $*"
        tail -n 40 "$log" | sed 's/^/       /'
    fi
}

# finish: the line that .ci/run counts, and the script's exit status.
finish() {
    echo "checks: $passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}

server_pid=
server_address=

# start_server GPUD DEVICE CERTS: sets server_address once it listens.
start_server() {
    local gpud=$1 device=$2 certs=$3 out="$SCRATCH/gpud.out" waited=0
    "$gpud" --device "$device" --listen 127.0.0.1:0 --certs "$certs" >"$out" 2>"$SCRATCH/gpud.err" &
    server_pid=$!
    until server_address=$(sed -n 's/^rrto-gpud listening on \([^ ]*\).*/\1/p' "$out") && [ -n "$server_address" ]; do
        if ! kill -0 "$server_pid" 2>/dev/null || [ "$waited" -ge 300 ]; then
            echo "rrto-gpud did not start:" >&2
            cat "$out" "$SCRATCH/gpud.err" >&2
            return 1
        fi
        waited=$((waited + 1))
        sleep 0.1
    done
}

# stop_server: ends the server that start_server started.
stop_server() {
    [ -n "$server_pid" ] || return 0
    kill "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    server_pid=
}

server_alive() {
    kill -0 "$server_pid"
}

# compile NVCC-OPTIONS... SOURCE PROGRAM: unless the program is newer than its source and than NVCC-OPTIONS' headers.
# Needs NVCC_ROOT; code is PTX for compute capability 7.5, which every driver and the software GPU can take.
compile() {
    local program=${*: -1} source=${*: -2:1}
    [ "$program" -nt "$source" ] && [ "$program" -nt "$(dirname "$source")/check.cuh" ] && return
    "$NVCC_ROOT/bin/nvcc" -O3 -std=c++17 -gencode arch=compute_75,code=compute_75 "${@:1:$#-2}" "$source" -o "$program"
}
