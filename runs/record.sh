#!/usr/bin/env bash
# The picture of a chat in the README, assets/chat.svg: lines typed into chat.py in a real terminal, and what stands on
# the screen then, uncut. Wants tmux. Arguments go to chat.py.
#
#     bash runs/record.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source runs/setup.sh requirements.txt
lines=(
    "hey! i'm Marta and i have a cat called Pixel" "she sleeps all day" "what should i cook tonight?" "/retry"
    "ok! by the way, my sister Nora visits me on friday" "do you remember my cat's name?" "and who visits me?" "/stats" "thanks, bye!"
)
export XDG_DATA_HOME=$(mktemp -d)
session=record$$
trap 'tmux kill-session -t $session 2>/dev/null || true; sleep 0.5; rm -rf "$XDG_DATA_HOME" || true' EXIT
tmux new-session -d -s $session -x 96 -y 48 "python chat.py --seed=1 $*; sleep 60"
screen() { tmux capture-pane -t $session -ep; }
settled() { # its turn: the prompt stands alone on the last line, a second long
    local still=0
    while [ $still -lt 4 ]; do
        [ "$(tmux capture-pane -t $session -p | sed '/^$/d' | tail -1)" = "[Human]:" ] && still=$((still + 1)) || still=0
        sleep 0.25
    done
}
for line in "${lines[@]}"; do
    settled
    tmux send-keys -t $session -l "$line"
    tmux send-keys -t $session Enter
done
settled
screen | python -c '
import re, sys
from rich.console import Console
from rich.text import Text
console = Console(record=True, width=96, file=open("/dev/null", "w"))
console.print(Text.from_ansi(sys.stdin.read().rstrip()))
svg = console.export_svg(title="python chat.py")
svg = re.sub(r"@font-face \{.*?\}\s*|<!-- .*? -->", "", svg, flags=re.S)  # nothing is fetched: whatever monospace is there
open("assets/chat.svg", "w").write(svg)
'
