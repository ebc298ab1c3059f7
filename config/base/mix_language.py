# What the base learns a language from: everybody's words, all of it permissive. See runs/base.sh.
permissive = True

# Shares of the tokens: our own small talk and people's; books; memory; drills that keep copying alive
folders = (
    "data/smalltalk=6",
    "data/self_dialogue=4",
    "data/chitchat=3",
    "data/personachat=1.6",
    "data/synthetic_persona_chat=1.4",
    "data/topical_chat=1.5",
    "data/qmsum=1",
    "data/prose=10",
    "data/recall=4",
    "data/copy/talk=3",
)
max_epochs = 4.0
out_dir = "data/base/language"
