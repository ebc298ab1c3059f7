"""
What you thought of replies: feedback.jsonl, to which /good, /bad and /edit of chat.py and the page's thumbs and edits
write; docs/chat.md has its format. Of each talk the newest verdict on a reply holds; an edit calls what it replaced bad
and what you wrote good. A good reply is learned, and preferred to each bad one of the same talk. Nothing leaves this
machine; the licence is yours to give.

    $ python data/feedback/prepare.py                                      # the file in your data folder
    $ python data/feedback/prepare.py --source=feedback.jsonl --show=3
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from dataset.rendering import Record
from readers import pii
from readers.archives import sources_at
from readers.json_rows import read_json_rows
from readers.source import Skipped
from runtime.errors import InputError
from serving.feedback import FeedbackFile
from tokenization.chat_format import Message, check_message

ABOUT = {"name": "my feedback", "licence": "private", "url": "this machine"}
WANTED = 'wanted {"conversation": [...], "message": "...", "verdict": "good", "bad" or null; or "edit": "..."}'


@dataclass(frozen=True)
class FeedbackConfig(PrepareConfig):
    """Turn what you thought of replies into what train.py learns, and pairs of a better and a worse reply."""

    tokenizer: str = "models/small-talk"  # the folder of the model that is to learn
    val_share: float = 0.0  # of few corrections, all are to be learned
    keep_private: bool = False  # keep links, addresses and numbers, which are masked otherwise


def conversations(settings: FeedbackConfig, skipped: Skipped) -> Iterator[Record]:
    talks: dict[str, dict[str, str | None]] = {}  # the talk before, as JSON -> reply -> its newest verdict
    for source in (source for path in files(settings) for source in sources_at(path)):
        for place, row in read_json_rows(source, skipped):
            before, verdicts = judged(row, place)
            if not any(message["role"] == "user" for message in before):
                skipped.note("verdict on a reply to nothing", place)
                continue
            talks.setdefault(json.dumps(before), {}).update(verdicts)
    for before, verdicts in talks.items():
        good, bad = ([text for text, said in verdicts.items() if text and said == one] for one in ("good", "bad"))
        if bad and not good:
            skipped.note("bad reply, and none to the same is called good")
        for reply in good:
            messages = [*json.loads(before), {"role": "assistant", "content": reply}]
            yield from ({"messages": messages, "rejected": worse} for worse in bad)
            if not bad:
                yield {"messages": messages}


def files(settings: FeedbackConfig) -> tuple[str, ...]:
    """What is read. Raises InputError where nothing was named and there is no feedback yet."""
    own = FeedbackFile().path
    if not settings.source and not own.exists():
        raise InputError(f"{own} is not there yet: say /good, /bad or /edit bot in chat.py, or --source=feedback.jsonl")
    return settings.source or (str(own),)


def judged(row: Any, place: str) -> tuple[list[Message], dict[str, str | None]]:
    """(the talk before, of which nothing is learned; text of a reply -> verdict) of a line. Raises InputError."""
    match row:
        case {"conversation": list(before), "message": str(reply), "edit": str(edit)}:
            verdicts: dict[str, str | None] = {reply.strip(): "bad", edit.strip(): "good"}
        case {"conversation": list(before), "message": str(reply), "verdict": "good" | "bad" | None as verdict}:
            verdicts = {reply.strip(): verdict}
        case _:
            raise InputError(f"{place}: {WANTED}")
    checked = (check_message(message, place) for message in before)
    return [{**each, "weight": 0} if each["role"] == "assistant" else each for each in checked], verdicts


def prepare(settings: FeedbackConfig) -> None:
    change_text = None if settings.keep_private else pii.mask
    prepare_folder(settings, __file__, conversations, ABOUT, change_text)


if __name__ == "__main__":
    configurator.main(prepare, FeedbackConfig)
