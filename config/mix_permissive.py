# A mixture that may be passed on with what is trained on it: python data/mix/prepare.py config/mix_permissive.py
# First prepare each folder below, with the same --tokenizer.
permissive = True  # any other licence is refused

# Personas first, then what people say of films, music and the day; recall for memory.
folders = (
    "data/personachat=4",
    "data/synthetic_persona_chat=2",
    "data/self_dialogue=2",
    "data/topical_chat=2",
    "data/chitchat=2",
    "data/recall=2",
)
max_epochs = 2.0  # small sources may come twice; more would be learned by heart
