# shellcheck shell=bash
# Virtual environments for run_demo.sh and run_tests.sh. Not a program: they source it.

unset CDPATH  # with it cd may go elsewhere, and prints where
project=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
pythons=(3.11 3.10 3.9 3.12)  # that MindSpore has packages for, the tested one first
python_versions="Python 3.9, 3.10, 3.11 or 3.12"

# prepare_venv VENV FILE...: makes VENV unless it is there, and installs what the requirement FILEs name and it lacks.
# An environment made here also gets the clone itself, in editable mode, and with it VENV/bin/rtseg. One that was there
# before belongs to somebody else, who decides what it imports.
prepare_venv() {
    local venv=$1 python missing
    shift
    if ! "$venv/bin/python" -m pip --version > /dev/null 2>&1; then
        python=$(find_python)
        echo "making the virtual environment $venv with $python"
        "$python" -m venv "$venv" || \
            fail_installation "cannot make $venv (on Debian and Ubuntu: apt install python3-venv)"
        touch "$venv/.made-for-rtseg"
    fi
    is_supported "$venv/bin/python" || fail_installation "$venv: expected $python_versions, found" \
        "$("$venv/bin/python" --version 2>&1); remove it or choose another"
    missing=$("$venv/bin/python" "$project/scripts/missing_requirements.py" "$@")
    if [[ -n $missing ]]; then
        mapfile -t missing <<< "$missing"
        echo "installing into $venv, which takes some minutes: ${missing[*]}"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$project/constraints.txt" \
            "${missing[@]}" || fail_installation "pip could not install into $venv, see above"
    fi
    if [[ -e $venv/.made-for-rtseg && ! -e $venv/bin/rtseg ]]; then
        # --no-deps: what the requirement files name is there already.
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --editable "$project" || \
            fail_installation "pip could not install $project into $venv, see above"
    fi
}

# Prints the interpreter that PYTHON names, or else the first one that MindSpore has packages for.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} "${pythons[@]/#/python}" python3 python; do
        if is_supported "$candidate"; then
            command -v "$candidate"
            return
        elif [[ $candidate == "${PYTHON:-}" ]]; then
            break
        fi
    done
    fail_installation "expected $python_versions, which MindSpore has packages for, found" \
        "${PYTHON:-none of them}. Install one, or name it: PYTHON=/path/to/python3.11"
}

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))' > /dev/null 2>&1
}

fail_installation() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
