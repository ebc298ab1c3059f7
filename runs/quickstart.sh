#!/usr/bin/env bash
# From a fresh clone to a chat within a minute of set-up: the model in the box, models/small-talk. Without a terminal it
# answers the lines of standard input and ends. runs/scratch.sh trains one from nothing instead.
#
#     bash runs/quickstart.sh
#     bash runs/quickstart.sh < questions.txt
set -euo pipefail
cd "$(dirname "$0")/.."
source runs/setup.sh requirements.txt
[ ! -t 0 ] || cat >&2 <<'END'
Next, if you like: ten minutes on your own chats, on this machine alone.
    python data/mychats/prepare.py --source=YOUR_EXPORT --bot=WHO --tokenizer=models/small-talk
    python train.py config/finetune_own.py
    python chat.py --out_dir=out-own
END
exec python chat.py --out_dir=models/small-talk
