#!/usr/bin/env bash
# Set-up if needed, then the tests of the page in a real browser; arguments go to pytest. Chromium comes from the system:
# apt-get install chromium
set -euo pipefail
cd "$(dirname "$0")/.."
source runs/setup.sh requirements.txt runs/requirements-test.txt runs/requirements-browser.txt
exec python -m pytest -m browser "$@"
