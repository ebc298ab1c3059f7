#!/usr/bin/env bash
# Whole conversations, uncut: six of the forty sets of lines in docs/talks.txt, drawn by SEED, typed to a model. The lines
# are by somebody who knew neither the model nor what it learned from. Arguments go to chat.py.
#
#     bash runs/transcripts.sh                          # docs/transcripts.md
#     SEED=2 bash runs/transcripts.sh --out_dir=out-chat
set -euo pipefail
cd "$(dirname "$0")/.."
source runs/setup.sh requirements.txt
for n in $(python -c "import random; print(*sorted(random.Random(${SEED:-1}).sample(range(1, 41), 6)))"); do
    printf '%s\n\n' "### Talk $n"
    lines=$(awk -v RS= -v n="$n" 'NR == n' docs/talks.txt)
    paste -d '\n' <(sed 's/^/> **You:** /; s/$/  /' <<<"$lines") \
        <(python chat.py --seed="${SEED:-1}" --no_history=true "$@" <<<"$lines" | sed 's/^/> **Bot:** /; s/$/  /')
    echo
done
