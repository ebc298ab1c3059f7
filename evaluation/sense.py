"""Whether a model answers everyday questions sensibly: the group "Sense"."""

import dataclasses
import functools
import itertools
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.backends import Backend
from evaluation.judge import Judge, makes_sense
from evaluation.prompting import ask, sampling_modes
from evaluation.rows import Row, Sample, percent_row
from inference.settings import SamplingParams
from runtime.errors import InputError
from tokenization.chat_format import Message

QUESTIONS = Path(__file__).with_name("sense.txt")
NEW_TOKENS = 40  # of an answer at most; those that go on and on would meet every rule by chance
ROLES = {"system": "system", "human": "user", "bot": "assistant"}


@dataclass
class Question:
    """A situation of sense.txt."""

    topic: str  # the heading that it stands under
    line: int  # of the file, where it begins
    before: list[Message] = field(default_factory=list)  # a persona, and what was said before
    asks: list[str] = field(default_factory=list)  # two ways to say it
    want: list[str] = field(default_factory=list)  # one of these lines must be met; judge.py has their language
    unwanted: list[str] = field(default_factory=list)  # none may be met
    answers: list[str] = field(default_factory=list)  # what a person would say

    @property
    def prompts(self) -> list[list[Message]]:
        """The messages of each way to ask it."""
        return [[*self.before, {"role": "user", "content": text}] for text in self.asks]


@functools.cache
def read_questions(path: Path = QUESTIONS) -> tuple[list[Question], Judge]:
    """(the Questions of a file, the Judge of its rules). Raises InputError with the line that is wrong."""
    rules: dict[str, list[str]] = {}
    questions: list[Question] = []
    topic, question = "", None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        line = line.strip()
        key, colon, text = (part.strip() for part in line.partition(":"))
        if line.startswith("["):
            topic, question = line.strip("[]"), None
        elif not line:
            question = None
        elif line.startswith("#"):
            continue
        elif not colon or not text:
            raise InputError(f"{path}:{number}: a line is a word, a colon and a text, such as ask: how are you?")
        elif topic == "rules":
            rules.setdefault(key, []).append(text)
        else:
            if question is None:
                question = Question(topic, number)
                questions.append(question)
            add_line(question, key, text, f"{path}:{number}")
    judge = Judge({name: " | ".join(lines) for name, lines in rules.items()})
    for question in questions:
        check_question(question, judge, f"{path}:{question.line}")
    return questions, judge


def add_line(question: Question, key: str, text: str, place: str) -> None:
    """Put a line of the file into its question. Raises InputError for a word that no line begins with."""
    lines = {"ask": question.asks, "want": question.want, "not": question.unwanted, "answer": question.answers}
    if key in ROLES:
        question.before.append({"role": ROLES[key], "content": text})
    elif key in lines:
        lines[key].append(text)
    else:
        raise InputError(f"{place}: no line begins with {key}; one of {', '.join([*ROLES, *lines])}")


def check_question(question: Question, judge: Judge, place: str) -> None:
    """Raises InputError if a question lacks a part, or names a rule that there is not."""
    if len(question.asks) != 2 or not question.want or not question.answers:
        raise InputError(f"{place}: a question has two lines ask, a line want and a line answer")
    for wanted in (*question.want, *question.unwanted):
        try:
            judge.check(wanted)
        except InputError as error:
            raise InputError(f"{place}: {error}") from None


def is_right(question: Question, way: int, reply: str) -> bool:
    """Whether a reply to one of the question's two ways makes sense."""
    _, judge = read_questions()
    return makes_sense(judge, question.want, question.unwanted, question.prompts[way], reply)


def shares_right(questions: Sequence[Question], replies: Sequence[str]) -> list[float]:
    """For each question, the share of its ways that were answered right: 0, 0.5 or 1. replies: two to a question."""
    pairs = zip(questions, replies[::2], replies[1::2], strict=True)
    return [sum(is_right(question, way, text) for way, text in enumerate(texts)) / 2 for question, *texts in pairs]


def draw_questions(n: int, seed: int) -> list[Question]:
    """n of the questions, drawn by the seed, in their order; all, if n is as many or more."""
    questions, _ = read_questions()
    drawn = random.Random(f"{seed}/sense").sample(range(len(questions)), min(n, len(questions)))
    return [questions[i] for i in sorted(drawn)]


def sense_rows(
    backend: Backend, sampling: SamplingParams, n: int, seed: int, progress: Callable[[int], object]
) -> tuple[list[Row], list[Sample]]:
    """
    Rows on n questions, two ways to ask each: greedy, sampled, by topic, and by chance; and a transcript of each
    sampled reply with its verdict. sampling: of the sampled ones. progress: called with the number of replies that
    were made.
    """
    questions = draw_questions(n, seed)
    prompts = [prompt for question in questions for prompt in question.prompts]
    source = f"evaluation/sense.txt, two ways to ask each question; at most {NEW_TOKENS} new tokens"
    row = functools.partial(percent_row, "Sense", seed=seed, source=source)
    rows: list[Row] = []
    shares: list[list[float]] = []
    replies: list[str] = []
    for mode, params in sampling_modes(sampling).items():
        params = dataclasses.replace(params, max_new_tokens=NEW_TOKENS)
        replies = [answer.text for answer in ask(backend, prompts, params, seed, progress)]
        shares.append(shares_right(questions, replies))
        definition = f"Everyday questions and situations that it answers sensibly, by the rules of the file, {mode}."
        rows.append(
            row(f"sense_{mode}", f"answers sensibly, {mode}", shares[-1], definition=definition, better="higher")
        )
    both_modes = [statistics.fmean(pair) for pair in zip(*shares, strict=True)]
    topics = itertools.groupby(zip(questions, both_modes, strict=True), key=lambda pair: pair[0].topic)
    for topic, pairs in topics:
        definition = f"The questions under the heading {topic!r}, greedy and sampled."
        right = [share for _, share in pairs]
        rows.append(row(f"sense_{topic.replace(' ', '_')}", topic, right, definition=definition, better="higher"))
    others = questions[len(questions) // 2 :] + questions[: len(questions) // 2]
    definition = "The sampled replies, each judged as the answer to another question: what chance would reach."
    label = "sense by chance (answers shuffled)"
    rows.append(row("sense_shuffled", label, shares_right(others, replies), definition=definition))
    return rows, transcripts(questions, replies)


def transcripts(questions: Sequence[Question], replies: Sequence[str]) -> list[Sample]:
    """A Sample for each reply: what was asked and said, and whether it is right. replies: two to a question."""
    ways = [(question, way) for question in questions for way in range(2)]
    return [
        {
            "title": f"{question.topic}: {'right' if is_right(question, way, text) else 'wrong'}",
            "messages": [*question.prompts[way], {"role": "assistant", "content": text}],
            "note": f"a person's: {question.answers[0]}",
        }
        for (question, way), text in zip(ways, replies, strict=True)
    ]
