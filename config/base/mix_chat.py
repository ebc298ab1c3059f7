# What the base learns to answer from: the bot's words, most of them our own small talk and memory. See runs/base.sh.
permissive = True
folders = (
    "data/smalltalk=22",
    "data/recall=12",
    "data/personachat=2",
    "data/synthetic_persona_chat=1.5",
    "data/self_dialogue=4",
    "data/chitchat=3",
    "data/topical_chat=1",
    "data/copy/talk=3",
)
max_epochs = 1.2
tokenizer = "data/base/language"
out_dir = "data/base/chat"
