#!/usr/bin/env bash
# A model from nothing: set-up, data, training from scratch within MINUTES (default 10), then a chat. A second run uses
# what is there. Without a terminal it answers the lines of standard input and ends.
#
#     bash runs/scratch.sh
#     MINUTES=3 bash runs/scratch.sh < questions.txt
set -euo pipefail
cd "$(dirname "$0")/.."
source runs/setup.sh requirements.txt
if [ ! -f data/scratch/mix/meta.json ]; then
    python data/chitchat/prepare.py --tokenizer=train:8192 --out_dir=data/scratch/chitchat >&2
    python data/smalltalk/prepare.py --tokenizer=data/scratch/chitchat --count=8000 --out_dir=data/scratch/smalltalk >&2
    python data/mix/prepare.py config/mix_scratch.py >&2
fi
if [ ! -f out-scratch/model.safetensors ]; then
    start=scratch
    [ ! -f out-scratch/trainer.pt ] || start=resume
    python train.py config/train_chitchat.py --data_dir=data/scratch/mix --out_dir=out-scratch \
        --max_minutes="${MINUTES:-10}" --init_from=$start >&2 </dev/null
fi
exec python chat.py --out_dir=out-scratch
