"""
The BYU Chit-Chat Challenge (Myers et al. 2020): students who talk about anything, some for hundreds of turns.
7,168 conversations, 4,018 of them with a reply; licence: MIT. It comes with the package chitchat-dataset, so that no
download is needed. Both sides are people: each conversation gives two views, one for each of them as the bot.

    $ python data/chitchat/prepare.py --tokenizer=train:8192
"""

import html
import importlib.util
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import prepare
from readers import rows
from readers.source import Record, Skipped
from runtime.errors import InputError

ABOUT = {"name": "Chit-Chat Challenge", "licence": "MIT", "url": "https://github.com/BYU-PCCL/chitchat-dataset"}


def conversations(settings: prepare.PrepareConfig, skipped: Skipped) -> Iterator[Record]:
    for path in settings.source or (packaged(),):
        for turns in talks(path):
            speakers = list(dict.fromkeys(sender for sender, _ in turns))
            if len(speakers) < 2:
                skipped.note("without a reply")
                continue
            for bot in speakers[1], speakers[0]:
                roles = {speaker: "assistant" if speaker == bot else "user" for speaker in speakers}
                yield {"messages": [{"role": roles[sender], "content": text} for sender, text in turns]}


def packaged() -> Path:
    """The data within the installed package. Raises InputError."""
    package = importlib.util.find_spec("chitchat_dataset")
    if package is None or package.origin is None:
        raise InputError("the package chitchat-dataset is missing: pip install -r requirements.txt")
    return Path(package.origin).with_name("dataset.json")


def talks(path: str | Path) -> list[list[tuple[str, str]]]:
    """The (sender, text) pairs of each conversation in a file. Raises InputError."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        if not isinstance(content, dict):
            raise rows.Misfit("not one object")
        return [turns_of(conversation) for conversation in content.values()]
    except (ValueError, RecursionError, rows.Misfit) as error:
        raise InputError(f"{path}: not the Chit-Chat Challenge's JSON ({error})") from None


def turns_of(conversation: Any) -> list[tuple[str, str]]:
    """The messages with a word in them; in the file, those that one sender wrote in a row are a list. Raises Misfit."""
    turns = [
        (str(rows.required(message, "sender", object)), html.unescape(rows.required(message, "text", str)).strip())
        for message in itertools.chain.from_iterable(rows.required_list(conversation, "messages", list))
    ]
    return [(sender, text) for sender, text in turns if text]


if __name__ == "__main__":
    prepare.main(__file__, conversations, ABOUT)
