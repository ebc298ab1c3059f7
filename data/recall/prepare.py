"""
Conversations that teach memory: real talk from prepared folders, with facts woven in that are asked for 1 to 40
exchanges later; see dataset/recall/tasks.py. val has values and phrasings that train never has. 5,000 conversations by
default, 60 to 1,000 tokens each; licence: that of the filler.

    $ python data/chitchat/prepare.py --tokenizer=train:8192
    $ python data/recall/prepare.py --tokenizer=data/chitchat --filler=data/chitchat --drills=0.5 --show=5
"""

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.folder import open_meta
from dataset.prepare import PrepareConfig, prepare_folder
from dataset.recall import drills, tasks
from dataset.recall.filler import Filler
from dataset.recall.phrasebook import contains_phrase
from dataset.rendering import Record
from memory.notes import Memory
from readers.source import Skipped
from runtime.errors import InputError
from tokenization import chat_format
from tokenization.chat_format import Message

# of settings; 256 tokens have room for a few facts and some talk
BOUNDS = {"count": (1, 10**9), "context": (256, 10**9), "drills": (0, 1), "memory_share": (0, 1)}


@dataclass(frozen=True)
class RecallConfig(PrepareConfig):
    """Weave facts, and questions about them, into conversations that are prepared already."""

    filler: tuple[str, ...] = ("data/chitchat",)  # prepared data folders
    count: int = 5000  # conversations to make
    answers_only: bool = False  # learn the replies to what is told and asked; the filler is only read
    context: int = 1024  # tokens that none of them exceeds: a question cut from its fact would teach invention
    drills: float = 0.0  # share of train that is facts and questions with hardly any talk between them
    memory_share: float = 0.0  # of them end with a question and are seen through memory/, in a smaller context

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, (least, most) in BOUNDS.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} ({getattr(self, name)}) must be from {least} to {most:,}")


def conversations(settings: RecallConfig, skipped: Skipped) -> Iterator[Record]:
    fillers = {split: Filler(settings.filler, split) for split in ("train", "val")}
    for index in range(settings.count):
        split = "val" if int((index + 1) * settings.val_share) > int(index * settings.val_share) else "train"
        words = "held_out" if split == "val" else "train"
        rng = random.Random(f"memory/{settings.seed}/{index}")
        woven = tasks.conversation(fillers[split], settings.seed, index, words, settings.context)
        if split == "train" and rng.random() < settings.drills:
            woven = drills.drill(fillers[split], settings.seed, index, settings.context)
        seen = remembered(woven, fillers[split], rng) if rng.random() < settings.memory_share else None
        messages = seen or woven.messages
        if settings.answers_only:
            messages = [*map(tasks.only_read, seen[:-1]), seen[-1]] if seen else woven.answers_weighted()
        yield {"messages": messages, "split": split}


def remembered(woven: tasks.WovenConversation, filler: Filler, rng: random.Random) -> list[Message] | None:
    """The talk up to a question and its answer, as a chat with memory shows it; None if what is asked for got lost."""
    if not woven.questions:
        return None
    question = rng.choice(woven.questions)
    answered = woven.answered_at(question)
    memory, seen, max_tokens = Memory(), woven.messages[:answered], rng.randint(96, 384)
    for end in range(1, answered + 1):
        if woven.messages[end - 1]["role"] == "user":
            talk = woven.messages[:end]
            try:
                seen = memory.in_view(talk, lambda view: chat_format.prompt(view, filler.tokenizer), max_tokens)
            except InputError:  # a turn of the filler alone is longer
                return None
    before, after = ("\n".join(each["content"] for each in part) for part in (woven.messages[:answered], seen))
    values = (question.value, *question.other_values)
    is_lost = any(contains_phrase(before, value) and not contains_phrase(after, value) for value in values)
    # what memory adds is only read: nobody said it there
    read = [message if message in woven.messages else tasks.only_read(message) for message in seen]
    return None if is_lost else [*read, woven.messages[answered]]


def prepare(settings: RecallConfig) -> None:
    metas = [open_meta(folder)[0] for folder in settings.filler]
    sources = [{**source, "name": f"recall over {source['name']}"} for meta in metas for source in meta["sources"]]
    names, licences = ({source[key]: None for source in sources} for key in ("name", "licence"))
    about = {"name": ", ".join(names), "licence": ", ".join(licences), "url": "dataset/recall", "sources": sources}
    prepare_folder(settings, __file__, conversations, about)


if __name__ == "__main__":
    configurator.main(prepare, RecallConfig)
