#!/usr/bin/env bash
# From a fresh clone to a chat: set-up, data, training within MINUTES (default 10), then the chat. A second run uses
# what is there. Without a terminal it answers the lines of standard input and ends.
#
#     bash runs/quickstart.sh
#     MINUTES=3 bash runs/quickstart.sh < questions.txt
set -euo pipefail
cd "$(dirname "$0")/.."
source runs/setup.sh requirements.txt
[ -f data/chitchat/meta.json ] || python data/chitchat/prepare.py --tokenizer=train:8192 >&2
if [ ! -f out-chitchat/model.safetensors ]; then
    start=scratch
    [ ! -f out-chitchat/trainer.pt ] || start=resume
    python train.py config/train_chitchat.py --max_minutes="${MINUTES:-10}" --init_from=$start >&2 </dev/null
fi
exec python chat.py --out_dir=out-chitchat
