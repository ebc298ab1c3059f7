#!/usr/bin/env bash
# 100,000 requests that are none, against serve.py: half of them by our fuzzer, beside chats that must stay as they are, and half
# by schemathesis, made of /openapi.json. It fails where one is a 5xx, or a chat says something else.
#
#     bash runs/fuzz_server.sh           REQUESTS=2000 bash runs/fuzz_server.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source runs/setup.sh requirements.txt runs/requirements-test.txt runs/requirements-clients.txt
half=$((${REQUESTS:-100000} / 2))
python bench.py --what=serve --init_from=models/small-talk --clients=8 --slots=8 --runs=1 --bad=$half "$@"
# An example of the setting is about 18 requests: of each operation, each phase and each kind. It keeps all that it sent in
# memory, 4 GB after 10,000 requests, so every 9,000 are a run of their own.
for ((sent = 0; sent < half; sent += 9000)); do
    part=$((half - sent < 9000 ? half - sent : 9000))
    SCHEMATHESIS_SEED=$sent SCHEMATHESIS_EXAMPLES=$((part / 18 + 1)) python -m pytest -m slow -s tests/serving/test_clients.py -k schemathesis
done
