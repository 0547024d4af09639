#!/bin/sh
# Is everything right on this GPU, and how fast: at most six minutes on an H100.
#
#     sh benchmarks/gpu.sh [--results] [--model NAME --batch N] [--seconds N]
#     sh benchmarks/gpu.sh --toy      on a CPU, that it runs
#
# Compiled code and whatever else is built lies in a temporary folder, which is removed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
export TMPDIR="$folder" XDG_CACHE_HOME="$folder" PYTHONDONTWRITEBYTECODE=1
export TORCHINDUCTOR_CACHE_DIR="$folder/inductor" TRITON_CACHE_DIR="$folder/triton"
export CUDA_CACHE_PATH="$folder/cuda"
"${PYTHON:-python}" "$here/gpu.py" "$@"
