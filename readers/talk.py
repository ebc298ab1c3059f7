"""
From who said what to records: the message that cannot be learned from is left out and told, both sides are heard.
"""


def record(said, place, skipped):
    """
    Yield the record of (role, text) pairs, or none where only one side speaks. Empty texts are left out; system
    messages are joined if the conversation begins with them, else left out.
    """
    messages = []
    for role, text in said:
        if not text.strip():
            skipped.note("empty message", place)
        elif role == "system" and messages and messages[-1]["role"] != "system":
            skipped.note("system message amid the talk", place)
        elif role == "system" and messages:
            messages[-1]["content"] += "\n" + text.strip()
        else:
            messages.append({"role": role, "content": text.strip()})
    if {"user", "assistant"} <= {message["role"] for message in messages}:
        yield {"messages": messages}
    else:
        skipped.note("conversation in which only one side speaks", place)


def views(said, personas, place, skipped):
    """
    Yield the records of a talk between people of equal standing, given as (speaker, text) pairs: one for each of the
    first two speakers as the bot, who is given the persona (speaker -> text, may be missing) as the system message.
    """
    said = [(speaker, text) for speaker, text in said if text.strip()]
    speakers = list(dict.fromkeys(speaker for speaker, _ in said))[:2]
    if len(speakers) < 2:
        skipped.note("conversation in which only one side speaks", place)
        return
    for bot in reversed(speakers):
        persona = personas.get(bot, "").strip()
        talk = [("assistant" if speaker == bot else "user", text) for speaker, text in said]
        yield from record(([("system", persona)] if persona else []) + talk, place, skipped)


def alternating(texts):
    """(speaker, text) pairs of two who take turns; a turn without a word is kept here, so that nobody's turn shifts."""
    return [(number % 2, text) for number, text in enumerate(texts)]
