"""
A model's own failures, for training by preference: replies that it samples to real talk and to questions about what it
was told. One that loops, copies, speaks for the human, says nothing or answers wrongly becomes a pair with the right
one: what the person said, or the answer that dataset/recall knows. Licence: that of the talk.

    $ python data/repair/prepare.py --talk=data/personachat --talk=data/smalltalk --count=2000
    $ python train.py config/finetune_feedback.py --data_dir=data/repair --out_dir=out-repair
"""

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.folder import open_meta, read_conversations
from dataset.prepare import PrepareConfig, prepare_folder
from dataset.recall import tasks
from dataset.recall.filler import Filler
from dataset.recall.story import Question
from dataset.rendering import Record
from evaluation.backends import LocalBackend
from evaluation.faults import fault
from evaluation.prompting import ask, find_contexts
from inference.loading import open_engine
from inference.settings import EngineConfig, SamplingParams
from readers.source import Skipped
from tokenization.chat_format import Message

SLOTS = 16  # replies that are sampled at once
MAX_NEW_TOKENS = 60  # of a reply: enough to loop


@dataclass(frozen=True)
class RepairConfig(PrepareConfig):
    """Make pairs of the right reply and a failure of the model's own."""

    tokenizer: str = "models/small-talk"  # the folder of the model that is asked, and is to learn
    talk: tuple[str, ...] = ("data/personachat",)  # prepared data folders, of whose train split prompts are made
    count: int = 1000  # prompts of each kind: real talk, and questions about what was told
    temperature: float = 0.7  # of the replies
    threads: int | None = None  # CPU threads; default: one a core


class Prompt(NamedTuple):
    messages: list[Message]  # up to the human's message that is to be answered
    answer: str  # the right reply
    question: Question | None = None  # where something is asked that was told


def conversations(settings: RepairConfig, skipped: Skipped) -> Iterator[Record]:
    engine, _ = open_engine(EngineConfig(init_from=settings.tokenizer, threads=settings.threads), SLOTS)
    sampling = SamplingParams(temperature=settings.temperature, max_new_tokens=MAX_NEW_TOKENS)
    max_tokens = engine.block_size - MAX_NEW_TOKENS  # of a prompt, all of which is then in view
    drawn = (*real_talk(settings), *questions(settings, max(256, max_tokens)))
    prompts = [prompt for prompt in drawn if len(engine.template.prompt(prompt.messages)) <= max_tokens]
    asked = [prompt.messages for prompt in prompts]
    replies = ask(LocalBackend(engine), asked, sampling, settings.seed, progress=lambda n: None)
    for prompt, reply in zip(prompts, replies, strict=True):
        wrong = fault(reply.text, prompt.messages)
        if not wrong and prompt.question and not prompt.question.is_right(reply.text):
            wrong = f"wrong answer to a question of the kind {prompt.question.kind}"
        skipped.note(wrong or "reply without a fault", kept=bool(wrong))
        if wrong and not fault(prompt.answer, prompt.messages):
            before = [{**each, "weight": 0} if each["role"] == "assistant" else each for each in prompt.messages]
            record: Record = {"messages": [*before, {"role": "assistant", "content": prompt.answer}]}
            yield record | ({"rejected": reply.text.strip()} if reply.text.strip() else {})


def real_talk(settings: RepairConfig) -> Iterator[Prompt]:
    talks = [talk for folder in settings.talk for talk in read_conversations(folder, "train")]
    return (Prompt(*context) for context in find_contexts(talks, settings.count, settings.seed))


def questions(settings: RepairConfig, context: int) -> Iterator[Prompt]:
    filler, rng = Filler(settings.talk, "train"), random.Random(settings.seed)
    for index in range(settings.count):
        woven = tasks.conversation(filler, settings.seed, index, "train", context)
        if woven.questions:
            question = rng.choice(woven.questions)
            yield Prompt(woven.messages[: woven.answered_at(question)], question.answer, question)


def prepare(settings: RepairConfig) -> None:
    sources = [source for folder in settings.talk for source in open_meta(folder)[0]["sources"]]
    names, licences = ({source[key]: None for source in sources} for key in ("name", "licence"))
    about = {"name": f"repair over {', '.join(names)}", "licence": ", ".join(licences), "url": "data/repair"}
    prepare_folder(settings, __file__, conversations, {**about, "sources": sources})


if __name__ == "__main__":
    configurator.main(prepare, RepairConfig)
