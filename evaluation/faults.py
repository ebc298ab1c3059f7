"""
What is wrong with a reply, by rule: what chat.py and self-chats try again, and data/repair trains against.

    >>> chat = [{"role": "user", "content": "do you like dogs?"}]
    >>> fault("i like dogs i like dogs i like dogs", chat)
    'loops'

A reply that says again what the bot said long ago is at fault too; where a question is answered, only one that says
nothing else: who asks once more for their name should hear it once more.
"""

import functools
import itertools
from collections.abc import Sequence

from evaluation.metrics import copies, impersonates, loops, ngrams, normalized, words
from tokenization.chat_format import Message

FAULTS = ("says nothing", "loops", "speaks for the human", "copies", "says it again")  # the worst first
TRIES = 3  # of a reply in all, while it is at fault
LOOP_WORDS = 80  # the last words of a reply that are looked at for loops
SHORT = 5  # words: a shorter reply may well be said twice,
OFTEN = 2  # but not once more, unless it is a word alone or answers a question
SAID_SHARE = 1 / 3  # of a reply's runs of three words that were said before: more of them is at fault


def fault(text: str, messages: Sequence[Message]) -> str | None:
    """What is wrong with a reply to the messages, one of FAULTS, or None."""
    last = messages[-1]
    if not text.strip():
        return None if last["role"] == "assistant" else "says nothing"  # a reply that goes on may have said all
    if loops(words(text)[-LOOP_WORDS:]):
        return "loops"
    if impersonates(text):
        return "speaks for the human"
    if copies(text, last["content"]):
        return "copies"
    return "says it again" if said_share(text, messages) > SAID_SHARE else None


def said_share(text: str, messages: Sequence[Message]) -> float:
    """
    The share of a reply's runs of three words that the bot said before, to something else than the last message. Of the
    answer to a question, and of a short reply, it is 1 or 0: the whole of it was said (a short one OFTEN), or not.
    """
    said, last = plain(text), messages[-1]
    if last["role"] != "user":
        return 0.0
    earlier = [
        reply["content"]
        for before, reply in itertools.pairwise(messages)
        if reply["role"] == "assistant" and before != last
    ]
    is_answer, n_words = last["content"].rstrip().endswith("?"), len(said.split())
    if is_answer or n_words < SHORT:
        times = sum(plain(reply) == said for reply in earlier)
        return float(times > 0 if n_words >= SHORT else times >= OFTEN and not is_answer and n_words > 1)
    runs = runs_of_three(text)
    return len(runs.intersection(itertools.chain.from_iterable(map(runs_of_three, earlier)))) / len(runs)


def better(first: str, second: str, messages: Sequence[Message]) -> bool:
    """Whether the second reply to the messages is better than the first, which is at fault."""
    order = (*FAULTS, None)
    ranks = [(order.index(fault(text, messages)), -said_share(text, messages)) for text in (first, second)]
    return ranks[1] > ranks[0]


@functools.lru_cache(2**13)  # of the replies of a long chat, which is looked through at each turn
def plain(text: str) -> str:
    """metrics.normalized."""
    return normalized(text)


@functools.lru_cache(2**13)
def runs_of_three(text: str) -> frozenset[tuple[str, ...]]:
    """The runs of three words in a text, marks left out."""
    return frozenset(ngrams(plain(text).split(), 3))
