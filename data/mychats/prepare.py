"""
Your own chats: exports of WhatsApp, Telegram, Signal, iMessage, Messenger and others, of ChatGPT and its like, plain
text, tables and JSON; docs/data.md says how to get them. Nothing leaves this machine; the licence is yours to give.

    $ python data/mychats/prepare.py                        # asks for what it needs
    $ python data/mychats/prepare.py --source=_chat.txt --bot=Ann
    $ python data/mychats/prepare.py --source=exports/ --source=result.json --bot="Ann Lee" --bot=Me --show=3
"""

import dataclasses
import functools
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from readers import detect, pii, questions
from readers.archives import open_sources
from readers.source import Record, Skipped, example_of

ABOUT = {"name": "my chats", "licence": "private", "url": "this machine"}
OWN_MODEL = "models/small-talk"  # the model that comes along, for which the chats are made where nothing is said
PASSES = 3  # over the chats, in which a bot learns how somebody writes and not yet all of it by heart


@dataclass(frozen=True)
class MyChatsConfig(PrepareConfig):
    """Turn your own chats, in whatever layout they were exported, into the files that train.py reads."""

    bot: tuple[str, ...] = ()  # who the model becomes, once for each name that this person has; others are the human
    gap_hours: float = 8.0  # a silence longer than this ends a conversation
    keep_private: bool = False  # keep links, addresses, numbers, and names that are such, which are masked otherwise
    show: int = 1  # conversations to print, what is learned in green
    skip_errors: bool = False  # skip and report what cannot be understood, instead of ending there
    estimate: bool | None = None  # say how long training takes here; default: where a person watches

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.source and not sys.stdin.isatty():
            raise ValueError("say what to read: --source=FILE_OR_FOLDER, once for each")
        if not self.gap_hours > 0:
            raise ValueError(f"gap_hours ({self.gap_hours}) must be above 0")


def conversations(settings: MyChatsConfig, skipped: Skipped, looked: detect.Look | None = None) -> Iterator[Record]:
    sources = open_sources(settings)
    skipped.example_of = functools.partial(example_of, {source.name: source for source in sources}, pii.mask)
    name_of = str if settings.keep_private else pii.StandIns().__getitem__
    recognised = detect.recognise(sources, skipped)
    return detect.records(recognised, settings.bot, settings.gap_hours, skipped, name_of, looked)


def prepare(settings: MyChatsConfig) -> None:
    if not settings.source:
        model = OWN_MODEL if settings.tokenizer == "gpt2" and Path(OWN_MODEL).is_dir() else settings.tokenizer
        settings = dataclasses.replace(settings, source=questions.ask_for_paths(), tokenizer=model)
    watched = sys.stdout.isatty()
    recognised = detect.recognise(open_sources(settings), Skipped(settings.skip_errors))
    looked = detect.look(recognised) if watched or not settings.bot else None
    for reader, sources in recognised:
        names = ", ".join(source.name for source in sources[:3]) + (", ..." if len(sources) > 3 else "")
        print(f"{reader.NAME}: {names} ({len(sources)} {'file' if len(sources) == 1 else 'files'})")
        for message in looked.opening.get(reader.NAME, []) if looked else []:
            print(f"    {pii.mask(message.speaker)}: {pii.mask(message.text)[:100]}")
    if looked and looked.speakers:
        print(detect.listed(looked.speakers))
        settings = dataclasses.replace(settings, bot=tuple(questions.choose_bots(looked.speakers, settings.bot)))
    change_text = None if settings.keep_private else pii.mask
    prepare_folder(settings, __file__, functools.partial(conversations, looked=looked), ABOUT, change_text)
    if watched if settings.estimate is None else settings.estimate:
        print_plan(Path(settings.out_dir or Path(__file__).parent), settings.tokenizer)


def print_plan(folder: Path, tokenizer: str) -> None:
    """Print how long the model with this tokenizer needs to learn the chats on this machine, and the command."""
    flag = shlex.quote(f"--data_dir={folder}")
    if tokenizer == OWN_MODEL:
        print(f"the model that comes along learns them in ten minutes: python train.py config/finetune_own.py {flag}")
        print("then talk to it: python chat.py --out_dir=out-own; config/finetune_own.py says how it keeps its memory")
    if tokenizer != "gpt2":
        return
    from runtime.device import choose_device  # with torch, which takes seconds
    from training.estimate import pass_seconds

    counts, device = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["splits"]["train"], choose_device()
    n = counts["tokens"]
    minutes = max(1, round(PASSES * pass_seconds(n, counts["supervised"], device) / 60))
    config = "config/finetune_chat_cpu.py" if device.type == "cpu" else "config/finetune_chat.py"
    command = f"python train.py {config} {flag} --out_dir=out-mychats --max_minutes={minutes}"
    print(f"{PASSES} passes over {n:,} tokens take a GPT-2 about {minutes} min on {device.name}: {command}")


if __name__ == "__main__":
    configurator.main(prepare, MyChatsConfig)
