#!/usr/bin/env bash
# The README's table: the quickstart's model, trained now if it is not there, beside the same model before training.
# Arguments go to evaluate.py (--quick ends within two minutes).
#
#     bash runs/report.sh
#     MINUTES=30 bash runs/report.sh --quick
set -euo pipefail
cd "$(dirname "$0")/.."
source runs/setup.sh requirements.txt
[ -f data/chitchat/meta.json ] || python data/chitchat/prepare.py --tokenizer=train:8192 >&2
[ -f out-chitchat/model.safetensors ] ||
    python train.py config/train_chitchat.py --max_minutes="${MINUTES:-10}" >&2 </dev/null
[ -f out-untrained/model.safetensors ] ||
    python train.py config/train_chitchat.py --max_iters=0 --out_dir=out-untrained >&2 </dev/null
python evaluate.py --init_from=out-chitchat --data=data/chitchat --baseline=out-untrained "$@" >&2
sed -n '/^## In short/,/^## Fit/{/^|/p}' out-chitchat/report.md
