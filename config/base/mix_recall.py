# What was told is asked for, in drills and in talk that the model has not read yet. See runs/base.sh.
permissive = True
folders = (
    "data/recall/drills=35",
    "data/recall/answers=16",
    "data/base/smalltalk=30",
    "data/copy/tokens=9",
    "data/personachat=4",
    "data/synthetic_persona_chat=2",
    "data/self_dialogue=2",
    "data/chitchat=2",
)
max_epochs = 1.0
tokenizer = "data/base/language"
out_dir = "data/base/recall"
