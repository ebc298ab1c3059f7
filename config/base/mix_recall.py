# What was told is asked for: drills first of all, then talk, all of it new to the model. See runs/base.sh.
permissive = True
folders = (
    "data/recall/drills=46",
    "data/recall/answers=18",
    "data/base/smalltalk=17",
    "data/copy/tokens=9",
    "data/personachat=4",
    "data/synthetic_persona_chat=2",
    "data/self_dialogue=2",
    "data/chitchat=2",
)
max_epochs = 1.0
tokenizer = "data/base/language"
out_dir = "data/base/recall"
