#!/usr/bin/env bash
# The model in the box, from nothing: English, then chat, copying, memory, plain talk. Every stage goes on where it was
# stopped, and one that has ended is passed over. Meant for some 30 hours of two cores, or ten minutes of one large GPU; NOTES.md
# says which of its stages were run as they stand.
#
#     bash runs/base.sh FOLDER              # FOLDER has self_dialogue/, topical_chat/, qmsum/ and prose/, as docs/data.md says
#     bash runs/base.sh FOLDER language     # the stages up to this one: data, pack, language, chat, copying, recall, talk, ship
#     bash runs/base.sh FOLDER pack         # the data as one archive, out-base/data.tar.xz, for a machine without network
#     bash runs/base.sh out-base/data.tar.xz chat --max_minutes=4     # there; flags behind a stage go to train.py
#
# SETUP=none: take the Python and the packages that are there.
set -euo pipefail
cd "$(dirname "$0")/.."
source runs/setup.sh requirements.txt
sources=${1:?say where the data sets are that no hub has: bash runs/base.sh FOLDER}
last=${2:-ship}

# prepare NAME FLAGS...: data/NAME, unless it is there. The files of FOLDER/NAME are its sources, if there are any.
prepare() {
    local name=$1 files=()
    shift
    [ ! -f "data/$name/meta.json" ] || return 0
    if [ -d "$sources/$name" ]; then
        for file in "$sources/$name"/*; do files+=("--source=$file"); done
    fi
    python "data/$name/prepare.py" ${files[@]+"${files[@]}"} "$@"
}

# mix NAME FLAGS...: data/base/NAME by config/base/mix_NAME.py, unless it is there
mix() {
    [ -f "data/base/$1/meta.json" ] || python data/mix/prepare.py "config/base/mix_$1.py" "${@:2}"
}

# train STAGE FLAGS...: a stage from where it was stopped, if it has not come to its end, which the last line tells
train() {
    local stage=$1 start=()
    shift
    [ ! -f "out-base/$stage/ended" ] || return 0
    [ ! -f "out-base/$stage/trainer.pt" ] || start=(--init_from=resume)
    python train.py "config/base/$stage.py" ${start[@]+"${start[@]}"} "$@" | tee -a out-base/base.log
    tail -n 1 out-base/base.log | grep -q '^wrote ' || exit 0 # stopped: the next call goes on
    touch "out-base/$stage/ended"
}

mkdir -p out-base
if [ -f "$sources" ]; then
    [ -f data/base/chat/meta.json ] || tar -xJf "$sources"
else
    # the data, in GPT-2's tokens first; then the mixture learns its own, and what is made of tokens takes these
    prepare smalltalk --count=100000
    for name in chitchat self_dialogue personachat synthetic_persona_chat topical_chat qmsum; do prepare "$name"; done
    prepare prose --licence="public domain"
    filler=(--filler=data/smalltalk --filler=data/personachat --filler=data/self_dialogue)
    filler+=(--filler=data/chitchat --filler=data/synthetic_persona_chat)
    prepare recall "${filler[@]}" --context=400 --count=40000
    if [ ! -f data/copy/talk/meta.json ]; then
        python data/copy/prepare.py --talk=true --tokenizer=data/smalltalk "${filler[@]}" --count=20000 --out_dir=data/copy/talk
    fi
    mix language --tokenizer=train:4096
    mix chat
    # for the last three stages: rows of random tokens, what every child knows, and talk that no stage has read before
    if [ ! -f data/copy/tokens/meta.json ]; then
        python data/copy/prepare.py --tokenizer=data/base/language --length=510 --shortest=64 --gapped=0.7 --count=14000 --out_dir=data/copy/tokens
    fi
    [ -f data/base/basics/meta.json ] ||
        python data/basics/prepare.py --tokenizer=data/base/language --out_dir=data/base/basics
    # drills of memory, in the kind of talk that is asked about (PersonaChat's, hidden among 50,000 others, would be too few)
    recall=(python data/recall/prepare.py --context=400 --tokenizer=data/base/language)
    personas=(--filler=data/personachat --answers_only=true)
    plain=(--filler=data/smalltalk --filler=data/base/basics) # the replies between are learned as well
    [ -f data/recall/answers/meta.json ] || "${recall[@]}" "${personas[@]}" --count=6000 --seed=2 --out_dir=data/recall/answers
    [ -f data/recall/drills/meta.json ] || "${recall[@]}" "${personas[@]}" --drills=1 --count=24000 --seed=3 --out_dir=data/recall/drills
    [ -f data/recall/noted/meta.json ] || "${recall[@]}" "${personas[@]}" --memory_share=1 --count=2000 --seed=4 --out_dir=data/recall/noted
    [ -f data/recall/plain/meta.json ] || "${recall[@]}" "${plain[@]}" --drills=1 --count=4000 --seed=5 --out_dir=data/recall/plain
    [ -f data/recall/among/meta.json ] || "${recall[@]}" "${plain[@]}" --count=2000 --seed=6 --out_dir=data/recall/among
    [ -f data/base/smalltalk/meta.json ] ||
        python data/smalltalk/prepare.py --count=9000 --seed=2 --out_dir=data/base/smalltalk
    if [ ! -f data/base/quick/meta.json ]; then
        quick=("--topics=quick_*" "--topics=personas_at_*")
        for topic in greetings goodbyes short_answers thanks apologies good_news bad_news what_i_just_said comparing_two_things; do
            quick+=("--topics=$topic")
        done
        python data/smalltalk/prepare.py "${quick[@]}" --count=5000 --seed=3 --out_dir=data/base/quick
    fi
    mix copying
    mix recall
    mix talk
fi
[ "$last" != data ] || exit 0
if [ "$last" = pack ]; then
    tar -cf - data/base/{language,chat,copying,recall,talk} | xz --lzma2=preset=3,dict=384MiB > out-base/data.tar.xz.new
    mv out-base/data.tar.xz.new out-base/data.tar.xz
    exit 0
fi

# a GPU takes more rows a step, and as many fewer steps
language=() chat=()
if python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    language=(config/base/on_gpu.py --max_iters=3600)
    chat=(config/base/on_gpu.py --max_iters=300)
fi

train language ${language[@]+"${language[@]}"} "${@:3}"
[ "$last" != language ] || exit 0
train chat ${chat[@]+"${chat[@]}"} "${@:3}"
[ "$last" != chat ] || exit 0
train copying
[ "$last" != copying ] || exit 0
train recall
[ "$last" != recall ] || exit 0
train talk
[ "$last" != talk ] || exit 0

# the model in the box: half the bytes, and without what only training needs
python - <<'END'
import torch

from checkpoint import model_folder

model, tokenizer, chat = model_folder.load("out-base/talk")
told = {name: value for name, value in chat.items() if name not in ("format", "version", "tokenizer")}
model_folder.save("models/small-talk", model, tokenizer, told, dtype=torch.bfloat16)
END
echo "wrote models/small-talk; talk to it: python chat.py"
