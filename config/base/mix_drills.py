# The first minutes of language: half of it words to be said again, so that copying is not unlearned. See runs/base.sh.
permissive = True
folders = (
    "data/copy/talk=3",
    "data/recall=2",
    "data/smalltalk=3",
)
max_epochs = 0.5
tokenizer = "data/base/language"
out_dir = "data/base/drills"
