# The first minutes of language: half of it words to be said again, so that copying is not unlearned. See runs/base.sh.
permissive = True
folders = (
    "data/copy/talk=4,1500000",
    "data/smalltalk=5",
)
max_epochs = 2.0
tokenizer = "data/base/language"
out_dir = "data/base/drills"
