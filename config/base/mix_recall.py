# What was told is asked for: the last stage, of talk that the model has not read yet. See runs/base.sh.
permissive = True
folders = (
    "data/recall/answers=54",
    "data/base/smalltalk=25",
    "data/copy/tokens=10,500000",
    "data/personachat=4",
    "data/synthetic_persona_chat=2",
    "data/self_dialogue=3",
    "data/chitchat=2",
)
max_epochs = 1.0
tokenizer = "data/base/language"
out_dir = "data/base/recall"
