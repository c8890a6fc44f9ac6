#!/usr/bin/env bash
# Runs the tests in a virtual environment of the project's own: run_tests.sh [argument of pytest ...]
# TEST_VENV chooses the environment, default .venv in the project; what it lacks is installed.
set -euo pipefail
# shellcheck source=scripts/venv.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/venv.sh"

venv=${TEST_VENV:-$project/.venv}
prepare_venv "$venv" "$project/requirements.txt" "$project/requirements-test.txt"
venv=$(cd -- "$venv" && pwd)
cd -- "$project"
exec "$venv/bin/python" -m pytest "$@"
