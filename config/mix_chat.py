# A mixture for a chat partner, whatever the licences: python data/mix/prepare.py config/mix_chat.py
# First prepare each folder below, with the same --tokenizer.

# Personas first; daily talk and empathy for tone, the long talk of sessions for staying power. Then what made the small
# model remember and make sense (NOTES.md): facts that are asked for soon (drills) and later, plain small talk, and what
# every child knows. Their shares are half of the small model's, since GPT-2 copies and knows much by itself: a guess.
folders = (
    "data/personachat=4",
    "data/synthetic_persona_chat=2",
    "data/multi_session_chat=2",
    "data/blended_skill_talk=1",
    "data/dailydialog=2",
    "data/empatheticdialogues=1",
    "data/chitchat=2",
    "data/recall/drills=2",
    "data/recall/answers=1",
    "data/smalltalk=2",
    "data/basics=1",
)
max_epochs = 2.0  # small sources may come twice; more would be learned by heart
