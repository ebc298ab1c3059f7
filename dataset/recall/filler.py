"""
Real conversations out of prepared data folders, between whose turns recall.py weaves what is to be remembered.
"""

import bisect
import collections
import functools
import itertools
import re
from dataclasses import dataclass

import numpy as np

from dataset.folder import open_meta, open_split
from dataset.recall.phrasebook import SLOTS, phrasings
from runtime.errors import InputError


@dataclass(frozen=True)
class Exchange:
    """A human turn and the bot's reply, from the filler. cost: their tokens; mentions: slots they may tell of."""

    human: str
    bot: str
    cost: int
    mentions: frozenset


class Filler:
    """The conversations of `split` in prepared data folders, decoded as they are drawn."""

    def __init__(self, folders, split):
        self.parts = []
        places, costs = [], []
        for folder in folders:
            _, tokenizer = open_meta(folder)
            opened = open_split(folder, split, tokenizer)
            if len(opened.starts) < 2:
                continue
            human = np.add.reduceat(opened.ids == tokenizer.human, opened.starts[:-1])
            costs.append(np.diff(opened.starts) / np.maximum(human, 0.1))
            places += [(len(self.parts), i) for i in range(len(human))]
            self.parts.append((opened, tokenizer))
        if not places:
            raise InputError(f"{', '.join(map(str, folders))}: no {split} conversation to weave facts into")
        costs = np.concatenate(costs)
        order = np.argsort(costs, kind="stable")
        self.costs, self.places = (
            costs[order].tolist(),
            [places[i] for i in order],
        )  # tokens an exchange, cheapest first
        self.tokenizer = self.parts[0][1]
        self.talk = functools.lru_cache(maxsize=4096)(self.decoded)

    def decoded(self, place):
        """(exchanges, system message or None) of a conversation. A bot turn that opens it is left out."""
        opened, tokenizer = self.parts[place[0]]
        ids = opened.ids[opened.starts[place[1]] : opened.starts[place[1] + 1]].tolist()
        borders = [i for i, id in enumerate(ids) if id in (tokenizer.system, tokenizer.human, tokenizer.bot)]
        turns = [
            (ids[start], tokenizer.decode(ids[start + 1 : end]).strip(), end - start)
            for start, end in zip(borders, [*borders[1:], len(ids)], strict=True)
        ]
        system = next((text for tag, text, _ in turns if tag == tokenizer.system), None)
        exchanges = [
            Exchange(human, bot, cost + bot_cost, frozenset(mentions(human) | mentions(bot)))
            for (tag, human, cost), (bot_tag, bot, bot_cost) in itertools.pairwise(turns)
            if tag == tokenizer.human and bot_tag == tokenizer.bot and human and bot
        ]
        return exchanges, system

    def drawn(self, rng, n, room, slots):
        """
        (n exchanges in their order that tell of none of the slots and cost at most `room` tokens, system message or
        None); None if there are none to be found. Where one conversation is too short, another follows.
        """
        taken, system, seen = [], None, set()
        fitting = max(bisect.bisect_right(self.costs, 1.3 * room / max(n, 1)), min(60, len(self.places)))
        for _ in range(60):
            if len(taken) >= n:
                return taken, system
            places = {rng.randrange(fitting) for _ in range(1 + (n > 6) + (n > 12))} - seen
            if not places:
                continue
            place = max(sorted(places), key=lambda place: min(len(self.talk(self.places[place])[0]), n))
            seen.add(place)
            exchanges, persona = self.talk(self.places[place])
            dearest = 2 * room / (n - len(taken))  # one long turn would cost the place of many
            run = longest(exchanges, slots, dearest)
            if taken and run and run[0] is exchanges[0]:
                run = run[1:]  # nobody says hello twice
            missing = n - len(taken)
            start = rng.choice((0, rng.randint(0, max(0, len(run) - missing))))
            run = run[start : start + missing]
            if sum(exchange.cost for exchange in run) * missing <= room * len(run) and run:
                if persona and not taken and len(run) == n and not mentions(persona) & slots:
                    system = persona
                taken += run
                room -= sum(exchange.cost for exchange in run)
        return None


@functools.cache
def mentioned():
    """(word -> the slots it could tell of, slot -> pattern for what no single word shows)."""
    words = collections.defaultdict(set)
    for slot in SLOTS:
        for word in " ".join(phrasings(slot, "mention", "train")).split():
            words[word].add(slot)
    return words, {
        slot: re.compile(line, re.I | re.M) for slot in SLOTS for line in phrasings(slot, "pattern", "train")
    }


def mentions(text):
    """The slots whose facts could be told, or asked for, by `text`."""
    words, patterns = mentioned()
    found = {slot for slot, pattern in patterns.items() if pattern.search(text)}
    return found.union(*(words[word] for word in words.keys() & set(re.findall(r"\w+", text.lower()))))


def longest(exchanges, slots, dearest):
    """The longest run of exchanges that mention none of the slots and cost at most `dearest` each."""
    best, start = [], 0
    for i in range(len(exchanges) + 1):
        if i == len(exchanges) or exchanges[i].mentions & slots or exchanges[i].cost > dearest:
            if i - start > len(best):
                best = exchanges[start:i]
            start = i + 1
    return best
