# Rows of random tokens to be said again, between talk: copying over the whole context, in minutes. See runs/base.sh.
permissive = True
folders = (
    "data/copy/tokens=55",
    "data/smalltalk=20",
    "data/recall=12",
    "data/personachat=4",
    "data/self_dialogue=5",
    "data/chitchat=4",
)
max_epochs = 1.0
tokenizer = "data/base/language"
out_dir = "data/base/copying"
