# What the base learns a language from: everybody's words, all of it permissive. See runs/base.sh.
permissive = True

# Shares of the tokens: our own small talk and people's; books; memory; drills that keep copying alive
folders = (
    "data/smalltalk=26",
    "data/self_dialogue=10",
    "data/chitchat=6",
    "data/personachat=2.5",
    "data/synthetic_persona_chat=1.8",
    "data/topical_chat=2",
    "data/qmsum=1",
    "data/prose=11",
    "data/recall=12",
    "data/copy/talk=7",
)
max_epochs = 2.0
out_dir = "data/base/language"
