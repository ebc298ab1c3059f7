# Plain talk, what every child knows, and what was told, asked for among both. See runs/base.sh.
permissive = True
folders = (
    "data/recall/drills=24",
    "data/recall/answers=7",
    "data/recall/noted=4",
    "data/base/basics=22",
    "data/base/smalltalk=24",
    "data/base/quick=11",
    "data/copy/tokens=5",
    "data/personachat=2.5",
    "data/self_dialogue=0.5",
    "data/chitchat=0.5",
    "data/synthetic_persona_chat=0.5",
)
max_epochs = 1.0
tokenizer = "data/base/language"
out_dir = "data/base/talk"
