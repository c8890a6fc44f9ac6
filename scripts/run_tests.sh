#!/usr/bin/env bash
# Runs the tests in a virtual environment of the project's own:
#   run_tests.sh [TIER] [argument of pytest ...]    TIER: unit, integration, hostile, or all of these
# Three tests run at a time, one where the arguments begin with another word, such as a module's name.
# TEST_VENV chooses the environment, default .venv in the project; what it lacks is installed.
set -euo pipefail
# shellcheck source=scripts/venv.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/venv.sh"

arguments=()
case ${1:-all} in
    all | unit | integration | hostile)
        # A crash of one of the three ends the run: one that takes its place may wait forever (pytest-xdist 3.8).
        arguments=(-n 3 --dist loadgroup --no-loadscope-reorder --max-worker-restart=0)
        [[ ${1:-all} == all ]] || arguments+=(-m "$1")
        shift $(( $# > 0 )) ;;
esac

venv=${TEST_VENV:-$project/.venv}
prepare_venv "$venv" "$project/requirements.txt" "$project/requirements-test.txt"
venv=$(cd -- "$venv" && pwd)
cd -- "$project"
# Several tests run at a time: more threads in each would only wait for each other.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
exec "$venv/bin/python" -m pytest ${arguments[@]+"${arguments[@]}"} "$@"
