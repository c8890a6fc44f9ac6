#!/usr/bin/env bash
# Builds the inference program. The last line, and the only one on stdout, is its path.
#   bash build.sh [-DRUNTIME=auto|lite|acl|openvino[,...]] [-DPYTHON=...] [any other CMake option]
# BUILD_DIR (default: build, next to this script) says where, JOBS (default: 2) how many compilers run at once, PYTHON
# which interpreter has OpenVINO.
set -euo pipefail

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build_dir=${BUILD_DIR:-$source_dir/build}

for tool in cmake "${CXX:-c++}"; do
  if ! command -v "$tool" > /dev/null; then
    echo "error: $tool not found; install CMake (3.16 or later, also: pip install cmake) and a C++17 compiler" >&2
    exit 1
  fi
done

mkdir -p "$build_dir"
build_dir=$(cd "$build_dir" && pwd)
if command -v flock > /dev/null; then  # jobs that share a clone build one after the other
  exec 9> "$build_dir/.lock"
  flock 9
fi
cmake -S "$source_dir" -B "$build_dir" ${PYTHON:+"-DPYTHON=$PYTHON"} "$@" >&2
cmake --build "$build_dir" --parallel "${JOBS:-2}" >&2
echo "$build_dir/main"
