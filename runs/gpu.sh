#!/usr/bin/env bash
# What only a GPU can show: tests, then speed, the rows most worth having first. Needs a CUDA PyTorch and the packages
# usually beside it, no network and no installation; what is missing is passed over by name. It ends within SECONDS_MAX
# (235) whatever happens: each step has what is left, and the last ones may have none.
#
#     bash runs/gpu.sh                                  # results in out-gpu/: gpu.json and log.txt
#     OUT=here STEPS="decode_1 hf_1 serve" bash runs/gpu.sh      # some steps alone, in this order
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-out-gpu}
mkdir -p "$OUT"
exec > >(tee -a "$OUT/log.txt") 2>&1
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
deadline=$(($(date +%s) + ${SECONDS_MAX:-235}))
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || command -v python3)}
work=${WORK:-/tmp/nanochatgpt-gpu} # data and weights made up once, for a second call
rows=$work/rows # a file of figures for each step, kept for a second call; gpu.json has them all
mkdir -p "$rows"
all="environment data tests train_16m decode_1 decode_32 train_124m train_124m_chats decode_8 decode_128 hf_1 hf_32 serve fit_124m fit_xl"

# each command has what is left of the time, and whatever it started ends with it
run() { timeout -k 3 "$left" "$python" "$@"; }
bench() { run bench.py --device=cuda --runs="${RUNS:-1}" --json="$rows/$step.json" "$@"; }
small=(--what=train --n_layer=8 --n_head=6 --n_embd=384 --block_size=512 --learn=all --data_dir="$work/4096")
large=(--what=train --n_layer=12 --n_head=12 --n_embd=768 --block_size=1024 --batch_size=12 --data_dir="$work/gpt2")
decode=(--what=decode --init_from="$work/124m" --prompt_tokens=64 --new_tokens=128)

take() {
    case $1 in
    environment) run runs/gpu_steps.py environment "$rows/$1.json" ;;
    data)
        [ -f "$work/4096/meta.json" ] ||
            run data/smalltalk/prepare.py --tokenizer=train:4096 --count=8000 --out_dir="$work/4096" | tail -n 1
        [ -f "$work/gpt2/meta.json" ] ||
            run data/smalltalk/prepare.py --count=8000 --out_dir="$work/gpt2" | tail -n 1
        [ -f "$work/124m/config.json" ] || run runs/gpu_steps.py weights "$work/124m"
        ;;
    tests) run -m pytest -m gpu tests/gpu -p no:cacheprovider --durations=8 -rfs ;;
    train_16m) bench "${small[@]}" --batch_size=64 --steps=300 --reference="${REFERENCE:-none}" ;;
    train_16m_128) bench "${small[@]}" --batch_size=128 --steps=150 --reference=none ;;
    train_124m) bench "${large[@]}" --steps=80 --learn=all ;;
    train_124m_chats) bench "${large[@]}" --steps=60 --reference=padded ;;
    decode_*) bench "${decode[@]}" --batch="${1#decode_}" ;;
    hf_*) bench "${decode[@]}" --batch="${1#hf_}" --peers=hf ;;
    serve) bench --what=serve --init_from="$work/124m" --clients=64 --slots=64 --new_tokens=64 ;;
    fit_*) run runs/gpu_steps.py "$1" "$rows/$1.json" ;;
    *) echo "no such step; there are: $all train_16m_128" ;;
    esac
}

for step in ${STEPS:-$all}; do
    left=$((deadline - $(date +%s)))
    if [ $left -lt 8 ]; then
        echo "== $step: no time left"
        continue
    fi
    echo "== $step, $left s left"
    started=$(date +%s)
    take "$step" </dev/null
    echo "== $step ended with $? after $(($(date +%s) - started)) s"
    "$python" runs/gpu_steps.py gather "$rows" >"$OUT/gpu.json"
done
"$python" runs/gpu_steps.py table "$rows"
