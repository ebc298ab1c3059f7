# What was told is asked for, in drills and in talk that no stage has read yet; short questions. See runs/base.sh.
permissive = True
folders = (
    "data/recall/drills=34",
    "data/recall/answers=10",
    "data/base/smalltalk=28",
    "data/base/quick=17",
    "data/copy/tokens=5",
    "data/personachat=3",
    "data/synthetic_persona_chat=1",
    "data/self_dialogue=1",
    "data/chitchat=1",
)
max_epochs = 1.0
tokenizer = "data/base/language"
out_dir = "data/base/recall"
