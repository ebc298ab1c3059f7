#!/usr/bin/env bash
# Set-up if needed, then the linter, the formatter and the tests. Without arguments all of them, on as many cores as there
# are (4 at most: each process takes half a gigabyte). Arguments go to pytest, one test after another:
#
#     bash runs/test.sh
#     bash runs/test.sh -m slow
#     bash runs/test.sh tests/readers -x
set -euo pipefail
cd "$(dirname "$0")/.."
source runs/setup.sh requirements.txt runs/requirements-test.txt
unset PYTHONDONTWRITEBYTECODE # the tests start a hundred processes, and each would compile all modules anew
ruff check .
ruff format --check .
pyright >.venv/pyright.log & # beside the tests
types=$!
[ $# -gt 0 ] || set -- -n logical --maxprocesses=4 --dist=worksteal
status=0
python -m pytest "$@" || status=$?
wait $types || { cat .venv/pyright.log; exit 1; }
exit $status
