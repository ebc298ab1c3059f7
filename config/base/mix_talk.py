# Plain talk, what every child knows, and what was told, asked for among both. See runs/base.sh.
permissive = True
folders = (
    "data/recall/drills=22",
    "data/recall/plain=7",
    "data/recall/answers=5",
    "data/recall/among=3.5",
    "data/recall/noted=3",
    "data/base/basics=23",
    "data/base/smalltalk=19",
    "data/base/quick=8",
    "data/copy/tokens=5",
    "data/personachat=2.5",
    "data/self_dialogue=0.5",
    "data/chitchat=0.5",
    "data/synthetic_persona_chat=0.5",
)
max_epochs = 1.0
tokenizer = "data/base/language"
out_dir = "data/base/talk"
