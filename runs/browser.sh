#!/usr/bin/env bash
# Set-up if needed, then the tests of the pages in a real browser; arguments go to pytest. Chromium comes from the system:
# apt-get install chromium npm. npm brings onnxruntime-web, for docs/browser; without it those tests are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
source runs/setup.sh requirements.txt runs/requirements-test.txt runs/requirements-browser.txt
exec python -m pytest -m browser "$@"
