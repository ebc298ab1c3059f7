"""
From the messages of chat logs to conversations: one of the people becomes the bot, and a long silence ends a talk.
"""


def talk_record(said, place, skipped):
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


def two_views(said, personas, place, skipped):
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
        yield from talk_record(([("system", persona)] if persona else []) + talk, place, skipped)


def alternating(texts):
    """(speaker, text) pairs of two who take turns; a turn without a word is kept here, so that nobody's turn shifts."""
    return [(number % 2, text) for number, text in enumerate(texts)]


def split_at_silences(messages, bot, gap_hours, skipped):
    """
    Yield records of Messages, with the speaker `bot` as the assistant and everybody else as the user, named where
    there are several. A chat is cut where nobody wrote for `gap_hours`.
    """
    open_talks = {}  # chat -> its messages since the last silence
    for message in messages:
        talk = open_talks.setdefault(message.chat, [])
        if talk and message.time is not None and talk[-1].time is not None:
            if message.time - talk[-1].time > gap_hours * 3600:
                yield from finish_talk(talk, bot, skipped)
                talk.clear()
        talk.append(message)
    for talk in open_talks.values():
        yield from finish_talk(talk, bot, skipped)


def finish_talk(talk, bot, skipped):
    """The record of one talk, if both the bot and somebody else speak in it."""
    people = {message.speaker for message in talk}
    if bot not in people or len(people) < 2:
        skipped.note("talk in which only one side speaks", f"{talk[0].chat}:{talk[0].line}")
        return
    named = len(people) > 2
    yield {"messages": [as_message(message, bot, named) for message in talk]}


def as_message(message, bot, named):
    if message.speaker == bot:
        return {"role": "assistant", "content": message.text}
    return {"role": "user", "content": message.text, **({"name": message.speaker} if named else {})}
