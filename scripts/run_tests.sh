#!/usr/bin/env bash
# Runs the tests in a virtual environment of the project's own:
#   run_tests.sh [TIER] [argument of pytest ...]    TIER: unit, integration or hostile; without one, all three
# Without arguments for pytest three tests run at a time.
# TEST_VENV chooses the environment, default .venv in the project; what it lacks is installed.
set -euo pipefail
# shellcheck source=scripts/venv.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/venv.sh"

arguments=()
case ${1:-} in
    unit | integration | hostile)
        arguments=(-m "$1")
        shift ;;
esac
# A crash of one of the three ends the run: one that takes its place may wait forever (pytest-xdist 3.8).
(( $# )) || set -- -n 3 --dist loadgroup --no-loadscope-reorder --max-worker-restart=0

venv=${TEST_VENV:-$project/.venv}
prepare_venv "$venv" "$project/requirements.txt" "$project/requirements-test.txt"
venv=$(cd -- "$venv" && pwd)
cd -- "$project"
# Several tests run at a time: more threads in each would only wait for each other.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
exec "$venv/bin/python" -m pytest ${arguments[@]+"${arguments[@]}"} "$@"
