#!/usr/bin/env bash
# The README's figures of speed: replies from a GPT-2 124M of random weights, ours and the peers' in one run, on a
# machine that does nothing else. Arguments go to each bench.py (--runs=9, --init_from=FOLDER).
#
#     bash runs/bench.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source runs/setup.sh requirements.txt runs/requirements-bench.txt
for weights in int8 bfloat16 int4; do
    for shape in "--prompt_tokens=64" "--prompt_tokens=512" "--prompt_tokens=64 --batch=8"; do
        peers=hf,ctranslate2,llamacpp
        [ "$weights $shape" != "int8 --prompt_tokens=64" ] || peers=$peers,uncached
        # shellcheck disable=SC2086
        python bench.py --what=decode --weights=$weights $shape --peers=$peers "$@"
        echo
    done
done
python bench.py --what=turns "$@"
