"""
Chats with a summary (SAMSum, DialogSum), rows {"dialogue": "Ann: hi\\nTom: hello", "summary": "..."}. By a hash of
the chat, one of two conversations is made: somebody pastes the chat and asks for a summary; or the bot is one of the
speakers of the chat, and is asked for the summary at its end.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from readers import detokenize, rows
from readers.conversations import talk_record
from readers.source import Record, Skipped

WANTED = '{"dialogue": "Ann: hi\\nTom: hello", "summary": "..."}'
LINE = re.compile(r"\s*([^:\n]{1,40}?)\s*:(.*)")
ANONYMOUS = re.compile(r"#?Person(\d)#")  # DialogSum's speakers
NAMES = ("Alex", "Robin", "Jamie", "Casey", "Morgan", "Taylor", "Sam", "Jordan", "Chris", "Kim", "Lee", "Pat")
MEDIA = re.compile(r"<(file|photo|video|link)[_\w ]*>")
PASTED = (
    "{talk}\n\nSummarise it.",
    "Summarise this chat:\n\n{talk}",
    "Can you sum this up for me?\n\n{talk}",
    "What is this conversation about?\n\n{talk}",
    "{talk}\n\nWhat happened here, in short?",
    "I missed this chat, what did they say?\n\n{talk}",
    "{talk}\n\nGive me the short version, please.",
    "Read this and tell me the main points:\n\n{talk}",
)
ASKED = (
    "Can you sum up our chat?",
    "What did we just talk about?",
    "Summarise our conversation, please.",
    "So, in short, what did we say?",
    "Give me a summary of this chat.",
    "What were we talking about?",
)


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    dialogue, summary = named(rows.required(row, "dialogue", str), rows.required(row, "summary", str))
    turns = turns_of(dialogue, place, skipped)
    choice = int.from_bytes(hashlib.sha256(dialogue.encode("utf-8", "replace")).digest()[:4], "big")
    speakers = list(dict.fromkeys(speaker for speaker, _ in turns))
    if len(speakers) < 2:
        skipped.note("chat of one speaker", place)
    elif not summary:
        skipped.note("chat without a summary", place)
    elif choice % 2:
        asked = PASTED[choice // 2 % len(PASTED)]
        text = "\n".join(f"{speaker}: {text}" for speaker, text in turns)
        yield from talk_record([("user", asked.format_map({"talk": text})), ("assistant", summary)], place, skipped)
    else:
        yield had_with_bot(turns, speakers, ASKED[choice // 2 % len(ASKED)], summary)


def had_with_bot(turns: list[tuple[str, str]], speakers: list[str], question: str, summary: str) -> Record:
    """The record of a chat in which the second speaker is the bot; the first asks for the summary."""
    asker, bot = speakers[:2]
    messages = [{"role": "system", "content": f"You are {bot}. You are chatting with {enumerated(speakers)}."}]
    for speaker, text in [*turns, (asker, question)]:
        message = {"role": "user", "content": text, "name": speaker}
        messages.append({"role": "assistant", "content": text} if speaker == bot else message)
    return {"messages": [*messages, {"role": "assistant", "content": summary}]}


def enumerated(speakers: list[str]) -> str:
    """The names of all but the second speaker, who is the bot: "Ann, Tom and Kim"."""
    others = [speaker for speaker in speakers if speaker != speakers[1]]
    return others[0] if len(others) == 1 else ", ".join(others[:-1]) + " and " + others[-1]


def named(dialogue: str, summary: str) -> tuple[str, str]:
    """Both texts with a name in place of each #Person1#, one that the texts do not contain."""
    both = f"{dialogue}\n{summary}"
    numbers = sorted(set(ANONYMOUS.findall(both)))
    if not numbers:
        return dialogue, detokenize.as_typed(summary)
    start = int(hashlib.sha256(both.encode("utf-8", "replace")).hexdigest(), 16) % len(NAMES)
    free = [name for name in NAMES[start:] + NAMES[:start] if name not in both]
    names = {number: free[at] if at < len(free) else f"Person {number}" for at, number in enumerate(numbers)}
    dialogue, summary = (ANONYMOUS.sub(lambda match: names[match[1]], text) for text in (dialogue, summary))
    # DialogSum's dialogues are in part tokenised: "I ' Ve"
    return "\n".join(detokenize.detokenize(line) for line in dialogue.splitlines()), detokenize.detokenize(summary)


def turns_of(dialogue: str, place: str, skipped: Skipped) -> list[tuple[str, str]]:
    """(speaker, text) of each line; a line without a speaker goes on with the one before it."""
    turns: list[tuple[str, str]] = []
    for line in dialogue.splitlines():
        start = LINE.match(line)
        text = detokenize.as_typed(MEDIA.sub("", start[2] if start else line))
        if not text:
            skipped.note("line with a picture only, or empty", place)
        elif start:
            turns.append((start[1], text))
        elif turns:
            speaker, before = turns[-1]
            turns[-1] = speaker, f"{before} {text}"
        else:
            skipped.note("line without a speaker", place)
    return turns
