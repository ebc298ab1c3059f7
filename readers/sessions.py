"""
From the messages of chat logs to conversations: one of the people becomes the bot, and a long silence ends a talk.
"""


def conversations(messages, bot, gap_hours, skipped):
    """
    Yield records of Messages, with the speaker `bot` as the assistant and everybody else as the user, named where
    there are several. A chat is cut where nobody wrote for `gap_hours`.
    """
    open_talks = {}  # chat -> its messages since the last silence
    for message in messages:
        talk = open_talks.setdefault(message.chat, [])
        if talk and message.time is not None and talk[-1].time is not None:
            if message.time - talk[-1].time > gap_hours * 3600:
                yield from finished(talk, bot, skipped)
                talk.clear()
        talk.append(message)
    for talk in open_talks.values():
        yield from finished(talk, bot, skipped)


def finished(talk, bot, skipped):
    """The record of one talk, if both the bot and somebody else speak in it."""
    people = {message.speaker for message in talk}
    if bot not in people or len(people) < 2:
        skipped.note("talk in which only one side speaks", f"{talk[0].chat}:{talk[0].line}")
        return
    named = len(people) > 2
    yield {"messages": [spoken(message, bot, named) for message in talk]}


def spoken(message, bot, named):
    if message.speaker == bot:
        return {"role": "assistant", "content": message.text}
    return {"role": "user", "content": message.text, **({"name": message.speaker} if named else {})}
