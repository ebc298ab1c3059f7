"""
From the messages of a chat log to conversations: who becomes the bot, and where one talk ends and the next begins.
"""

import collections


def speakers(messages):
    """Speaker -> number of messages, the most talkative first."""
    return dict(collections.Counter(message.speaker for message in messages).most_common())


def conversations(messages, bot, gap_hours, skipped, changed=lambda text: text):
    """
    Yield records of the Messages, with the speaker `bot` as the assistant and everybody else as the user, named.
    A chat is cut where nobody wrote for `gap_hours`. changed: applied to each text (private.masked).
    """
    open_talks = {}  # chat -> its messages since the last silence
    for message in messages:
        talk = open_talks.setdefault(message.chat, [])
        if talk and message.time is not None and talk[-1].time is not None:
            if message.time - talk[-1].time > gap_hours * 3600:
                yield from finished(talk, bot, skipped, changed)
                talk.clear()
        talk.append(message)
    for talk in open_talks.values():
        yield from finished(talk, bot, skipped, changed)


def finished(talk, bot, skipped, changed):
    """The record of one talk, if both the bot and somebody else speak in it."""
    if len({message.speaker == bot for message in talk}) < 2:
        skipped.note("talk in which only one side speaks", f"line {talk[0].line}")
        return
    yield {"messages": [spoken(message, bot, changed) for message in talk]}


def spoken(message, bot, changed):
    if message.speaker == bot:
        return {"role": "assistant", "content": changed(message.text)}
    return {"role": "user", "content": changed(message.text), "name": message.speaker}
