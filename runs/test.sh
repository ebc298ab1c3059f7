#!/usr/bin/env bash
# Set-up if needed, then the whole test suite; arguments go to pytest (-m slow runs the slow ones).
set -euo pipefail
cd "$(dirname "$0")/.."
source runs/setup.sh requirements.txt runs/requirements-test.txt
ruff check .
ruff format --check .
exec python -m pytest "$@"
