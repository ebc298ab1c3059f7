"""
Your own chats: exports of WhatsApp, Telegram, Signal, iMessage, Discord and Slack, of ChatGPT, and plain text, tables
or JSON of conversations; docs/data.md says how to get them. Nothing leaves this machine; the licence is yours to give.

    $ python data/mychats/prepare.py --source=_chat.txt --bot=Ann
    $ python data/mychats/prepare.py --source=exports/ --source=result.json --bot="Ann Lee" --show=3
"""

import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from readers import detect, pii
from readers.archives import open_sources
from readers.source import Record, Skipped

ABOUT = {"name": "my chats", "licence": "private", "url": "this machine"}


@dataclass(frozen=True)
class MyChatsConfig(PrepareConfig):
    """Turn your own chats, in whatever layout they were exported, into the files that train.py reads."""

    bot: tuple[str, ...] = ()  # who the model becomes, once for each name that this person has; others are the human
    gap_hours: float = 8.0  # a silence longer than this ends a conversation
    keep_private: bool = False  # keep links, e-mail addresses, phone and card numbers, which are masked otherwise
    show: int = 1  # conversations to print, what is learned in green
    skip_errors: bool = False  # skip and report what cannot be understood, instead of ending there

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.source:
            raise ValueError("say what to read: --source=FILE_OR_FOLDER, once for each")
        if not self.gap_hours > 0:
            raise ValueError(f"gap_hours ({self.gap_hours}) must be above 0")


def conversations(settings: MyChatsConfig, skipped: Skipped) -> Iterator[Record]:
    recognised = detect.recognise(open_sources(settings), skipped)
    name_of = str if settings.keep_private else pii.StandIns().__getitem__
    return detect.records(recognised, settings.bot, settings.gap_hours, skipped, name_of)


def prepare(settings: MyChatsConfig) -> None:
    recognised = detect.recognise(open_sources(settings), Skipped(settings.skip_errors))
    for reader, sources in recognised:
        names = ", ".join(source.name for source in sources[:3]) + (", ..." if len(sources) > 3 else "")
        print(f"{reader.NAME}: {names} ({len(sources)} {'file' if len(sources) == 1 else 'files'})")
    bots = detect.choose_bots(recognised, settings.bot, Skipped(settings.skip_errors))
    settings = dataclasses.replace(settings, bot=tuple(bots))
    prepare_folder(settings, __file__, conversations, ABOUT, None if settings.keep_private else pii.mask)


if __name__ == "__main__":
    configurator.main(prepare, MyChatsConfig)
