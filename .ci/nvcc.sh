#!/usr/bin/env bash
# Installs NVIDIA's compiler from pip packages into target/nvcc unless it is there, and prints its root: ROOT/bin/nvcc,
# ROOT/include, ROOT/lib. With the argument aarch64 it does so for the files that a program for aarch64 is linked with,
# and prints their root: ROOT/lib.
#
# Needs python3 with pip (it makes do with a virtual environment's) and, to use the compiler, g++.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-$PWD/target}
readonly VERSION='13.0.*'

pip() {
    if python3 -m pip --version >/dev/null 2>&1; then
        python3 -m pip --quiet --disable-pip-version-check --no-input "$@"
    else
        [ -x "$target/pip/bin/pip" ] || python3 -m venv "$target/pip" >&2
        "$target/pip/bin/pip" --quiet --disable-pip-version-check --no-input "$@"
    fi
}

# install DESTINATION PIP-OPTIONS-AND-PACKAGES...: all or nothing, so that an interrupted one is not taken for whole.
install() {
    local to=$1
    shift
    [ -e "$to/installed" ] && return
    rm -rf "$to" "$to.part"
    mkdir -p "$(dirname "$to")"
    PIP_ROOT_USER_ACTION=ignore pip install --target "$to.part" --no-deps "$@" >&2
    touch "$to.part/installed"
    mv "$to.part" "$to"
}

case "${1-}" in
'')
    install "$target/nvcc" "nvidia-cuda-nvcc==$VERSION" "nvidia-nvvm==$VERSION" "nvidia-cuda-crt==$VERSION" \
        "nvidia-cuda-runtime==$VERSION" "nvidia-cuda-cccl==$VERSION"
    echo "$target/nvcc/nvidia/cu13"
    ;;
aarch64)
    install "$target/nvcc-aarch64" --only-binary=:all: --platform manylinux2014_aarch64 "nvidia-cuda-runtime==$VERSION"
    echo "$target/nvcc-aarch64/nvidia/cu13"
    ;;
*)
    echo "usage: $0 [aarch64]" >&2
    exit 2
    ;;
esac
