#!/usr/bin/env bash
# Runs the tests on every accepted pair of MindSpore and Python and prints a table for docs/versions.md.
#
#     test_versions.sh [--unit] [MINDSPORE:PYTHON ...]     default: all pairs, such as 2.10.0:3.12
#
# --unit runs the unit tests only.
# Each pair gets an environment and a log in VERSIONS_FOLDER (default: .versions in the project). A pair whose
# interpreter or MindSpore package is not to be had is reported, not tested. The exit code is 1 if a test failed.
set -euo pipefail
unset CDPATH  # with it cd may go elsewhere, and prints where

project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
folder=${VERSIONS_FOLDER:-$project/.versions}
tiers=(unit integration)
if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0"
    exit 0
elif [[ ${1:-} == --unit ]]; then
    tiers=(unit)
    shift
fi
pairs=("$@")
for pair in "$@"; do
    if [[ ! $pair =~ ^[0-9][0-9.]*:3\.[0-9]+$ ]]; then
        echo "error: expected MINDSPORE:PYTHON such as 2.10.0:3.12, found '$pair'" >&2
        exit 2
    fi
done
if (( $# == 0 )); then
    for mindspore in 2.7.0 2.7.2 2.8.0 2.9.0 2.10.0; do
        for python in 3.9 3.10 3.11 3.12; do
            pairs+=("$mindspore:$python")
        done
    done
fi

# Goldens of two graphs, training and bitwise resuming, export to ONNX, two processes.
integration=(
    "tests/tools/test_parity.py::test_golden_of_another_graph[fast_scnn_mmseg]"
    "tests/tools/test_parity.py::test_golden_of_another_graph[bisenetv1_coincheung]"
    tests/training/test_trainer.py
    tests/export/test_onnx_converter.py
    tests/runtime/test_distributed.py
)

# find_python VERSION: an interpreter that runs, on the path or of pyenv.
find_python() {
    local candidate
    for candidate in "python$1" "$HOME/.pyenv/versions/$1".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" > /dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# outcome LOG: pytest's last line without its decoration, such as "312 passed, 2 skipped in 33.10s".
outcome() {
    tail -n 1 "$1" | tr -d '=' | sed 's/^ *//; s/ *$//'
}

mkdir -p -- "$folder"
folder=$(cd -- "$folder" && pwd)
failed=0
echo "| MindSpore | Python | NumPy | Unit tests | Goldens, training, export, two processes |"
echo "| --- | --- | --- | --- | --- |"
for pair in "${pairs[@]}"; do
    mindspore=${pair%%:*} version=${pair##*:}
    venv=$folder/$mindspore-$version log=$folder/$mindspore-$version.log
    if ! python=$(find_python "$version"); then
        echo "| $mindspore | $version | | no interpreter here | |"
        continue
    fi
    if [[ ! -x $venv/bin/pytest ]]; then
        "$python" -m venv "$venv"
        if ! "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "mindspore==$mindspore" \
            -r "$project/requirements.txt" -r "$project/requirements-test.txt" > "$log" 2>&1; then
            reason=$(grep -m 1 -o 'No matching distribution found for .*' "$log" || echo "cannot be installed, see $log")
            echo "| $mindspore | $version | | $reason | |"
            rm -rf -- "$venv"
            continue
        fi
    fi
    numpy=$("$venv/bin/python" -c 'import numpy; print(numpy.__version__)')
    results=()
    for tier in "${tiers[@]}"; do
        tests=(-m unit)
        [[ $tier == unit ]] || tests=("${integration[@]}")
        (cd -- "$project" && "$venv/bin/python" -m pytest -q -p no:cacheprovider "${tests[@]}") \
            > "$log.$tier" 2>&1 < /dev/null || failed=1
        results+=("$(outcome "$log.$tier")")
    done
    echo "| $mindspore | $version | $numpy | ${results[0]} | ${results[1]:-} |"
done
exit "$failed"
