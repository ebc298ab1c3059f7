#!/usr/bin/env bash
# The model in the box, from nothing: copying, then English, then chat. Every stage goes on where it was stopped, and one
# that has ended is passed over. Meant for some 30 hours of two cores, or an hour of one GPU, on which it has not run yet.
#
#     bash runs/base.sh FOLDER                 # FOLDER has self_dialogue/, topical_chat/, qmsum/ and prose/, as docs/data.md says
#     bash runs/base.sh FOLDER language        # the stages up to this one: data, school, drills, language
set -euo pipefail
cd "$(dirname "$0")/.."
source runs/setup.sh requirements.txt
sources=${1:?say where the data sets are that no hub has: bash runs/base.sh FOLDER}
last=${2:-language}

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

# train STAGE FLAGS...: a stage from where it was stopped, if it has not come to its end
train() {
    local stage=$1 start=()
    shift
    ! ended "$stage" || return 0
    [ ! -f "out-base/$stage/trainer.pt" ] || start=(--init_from=resume)
    python train.py "config/base/$stage.py" ${start[@]+"${start[@]}"} "$@"
    ended "$stage" || exit 0 # stopped: the next call goes on
}

ended() {
    python - "out-base/$1" <<'END' 2>/dev/null
import json, pathlib, sys

folder = pathlib.Path(sys.argv[1])
settings = json.loads((folder / "chat.json").read_text())["settings"]
steps = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["iter"]
sys.exit(steps < settings["max_iters"])
END
}

# the data, in GPT-2's tokens first; then the mixture learns its own, and what is made of tokens takes these
for name in smalltalk chitchat self_dialogue personachat synthetic_persona_chat topical_chat qmsum; do prepare "$name"; done
prepare prose --licence="public domain"
prepare recall --filler=data/smalltalk --filler=data/personachat --context=420 --count=12000
if [ ! -f data/copy/talk/meta.json ]; then
    python data/copy/prepare.py --talk=true --tokenizer=data/smalltalk --count=10000 --out_dir=data/copy/talk
fi
if [ ! -f data/base/language/meta.json ]; then
    python data/mix/prepare.py config/base/mix_language.py --tokenizer=train:4096
fi
[ -f data/base/drills/meta.json ] || python data/mix/prepare.py config/base/mix_drills.py
if [ ! -f data/copy/school_512/meta.json ]; then
    python data/copy/prepare.py --length=64 --gapped=0 --count=40000 --out_dir=data/copy/school_64
    python data/copy/prepare.py --length=512 --shortest=64 --count=12000 --out_dir=data/copy/school_512
fi
[ "$last" != data ] || exit 0

# a small model learns to copy, and grows
train school_64
train school_512
[ "$last" != school ] || exit 0

train drills "${@:3}"
[ "$last" != drills ] || exit 0
train language "${@:3}"
