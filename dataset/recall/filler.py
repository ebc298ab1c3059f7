"""
Filler: real conversations from prepared data folders. Their exchanges fill the distance between a fact that story.py
weaves into a conversation and the question about it.
"""

import bisect
import collections
import functools
import itertools
import random
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dataset.folder import Split, open_meta, open_split
from dataset.recall.phrasebook import SLOTS, phrasings
from runtime.errors import InputError
from tokenization.chat_format import split_turns
from tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Exchange:
    """A turn of the human and the bot's reply to it."""

    human: str
    bot: str
    cost: int  # tokens of both turns
    mentions: frozenset[str]  # slots whose facts it might tell or ask for: none of these can be woven around it


class Talk(NamedTuple):
    """Exchanges of a real conversation, in order, and its system message if it has one."""

    exchanges: list[Exchange]
    system: str | None


class Filler:
    """
    The conversations of a split ("train" or "val") of prepared data folders. They are decoded only when they are drawn.
    Raises InputError where a folder is not prepared, or the split is empty.
    """

    def __init__(self, folders: Sequence[str | Path], split: str) -> None:
        self.parts: list[tuple[Split, Tokenizer]] = []
        places: list[tuple[int, int]] = []  # of each conversation: number of the part, number in it
        costs = []
        for folder in folders:
            _, tokenizer = open_meta(folder)
            conversations = open_split(folder, split, tokenizer)
            if len(conversations.starts) < 2:
                continue
            n_human_turns = np.add.reduceat(conversations.ids == tokenizer.human, conversations.starts[:-1])
            costs.append(np.diff(conversations.starts) / np.maximum(n_human_turns, 0.1))
            places += [(len(self.parts), i) for i in range(len(n_human_turns))]
            self.parts.append((conversations, tokenizer))
        if not places:
            raise InputError(f"{', '.join(map(str, folders))}: no {split} conversation to weave facts into")
        tokens_per_exchange = np.concatenate(costs)
        order = np.argsort(tokens_per_exchange, kind="stable")
        self.costs: list[float] = tokens_per_exchange[order].tolist()  # of each conversation, the cheapest first
        self.places = [places[i] for i in order]  # in the same order
        self.tokenizer = self.parts[0][1]
        self.talk = functools.lru_cache(maxsize=4096)(self.read_talk)

    def read_talk(self, place: tuple[int, int]) -> Talk:
        """The conversation at a place, decoded. Turns without a partner, such as a bot's greeting, are left out."""
        conversations, tokenizer = self.parts[place[0]]
        start, end = conversations.starts[place[1] : place[1] + 2]
        turns = [
            (role, tokenizer.decode(ids[1:]).strip(), len(ids))
            for role, ids in split_turns(conversations.ids[start:end].tolist(), tokenizer)
        ]
        system = next((text for role, text, _ in turns if role == "system"), None)
        exchanges = [
            Exchange(human, bot, human_cost + bot_cost, frozenset(mentioned_slots(human) | mentioned_slots(bot)))
            for (role, human, human_cost), (next_role, bot, bot_cost) in itertools.pairwise(turns)
            if role == "user" and next_role == "assistant" and human and bot
        ]
        return Talk(exchanges, system)

    def draw(self, rng: random.Random, n: int, max_tokens: int, slots: AbstractSet[str]) -> Talk | None:
        """
        n exchanges that mention none of the slots and cost at most `max_tokens` together, with the conversation's
        system message if it can be kept; None if this draw finds no such exchanges. They are runs of real
        conversations; where one is too short, another follows it.
        """
        drawn: list[Exchange] = []
        system = None
        tried: set[int] = set()
        # of conversations about as cheap as needed, or of the 60 cheapest
        n_cheap = max(bisect.bisect_right(self.costs, 1.3 * max_tokens / max(n, 1)), min(60, len(self.places)))
        tokens_left = max_tokens
        for _ in range(60):
            if len(drawn) >= n:
                return Talk(drawn, system)
            candidates = {rng.randrange(n_cheap) for _ in range(1 + (n > 6) + (n > 12))} - tried
            if not candidates:
                continue
            number = max(sorted(candidates), key=lambda number: min(len(self.talk(self.places[number]).exchanges), n))
            tried.add(number)
            exchanges, persona = self.talk(self.places[number])
            n_missing = n - len(drawn)
            max_cost = 2 * tokens_left / n_missing  # a single long turn would take the tokens of many
            run = longest_run(exchanges, slots, max_cost)
            if drawn and run and run[0] is exchanges[0]:
                run = run[1:]  # nobody says hello twice
            start = rng.choice((0, rng.randint(0, max(0, len(run) - n_missing))))
            run = run[start : start + n_missing]
            cost = sum(exchange.cost for exchange in run)
            if run and cost * n_missing <= tokens_left * len(run):
                if persona and not drawn and len(run) == n and not mentioned_slots(persona) & slots:
                    system = persona
                drawn += run
                tokens_left -= cost
        return None


@functools.cache
def mention_rules() -> tuple[dict[str, set[str]], dict[str, re.Pattern[str]]]:
    """(word -> the slots that it mentions, slot -> pattern for mentions that no single word shows)."""
    words = collections.defaultdict(set)
    for slot in SLOTS:
        for word in " ".join(phrasings(slot, "mention", "train")).split():
            words[word].add(slot)
    return words, {
        slot: re.compile(line, re.I | re.M) for slot in SLOTS for line in phrasings(slot, "pattern", "train")
    }


def mentioned_slots(text: str) -> set[str]:
    """The slots whose facts `text` might tell or ask for."""
    words, patterns = mention_rules()
    slots = {slot for slot, pattern in patterns.items() if pattern.search(text)}
    return slots.union(*(words[word] for word in words.keys() & set(re.findall(r"\w+", text.lower()))))


def longest_run(exchanges: list[Exchange], slots: AbstractSet[str], max_cost: float) -> list[Exchange]:
    """The longest run of exchanges that mention none of the slots and cost at most `max_cost` tokens each."""
    longest, start = [], 0
    for i in range(len(exchanges) + 1):
        if i == len(exchanges) or exchanges[i].mentions & slots or exchanges[i].cost > max_cost:
            if i - start > len(longest):
                longest = exchanges[start:i]
            start = i + 1
    return longest
