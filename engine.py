"""
Generation: one loop for a chat, for raw text, streaming or not.

    engine = Engine(model, tokenizer)
    for piece in engine.reply([{"role": "user", "content": "hi"}], Sampling(temperature=0.7)):
        print(piece.text, end="", flush=True)
    print(piece.reason)                       # end_of_turn, stop, length or context

The KV cache survives from one call to the next: only what differs from the last conversation is computed.
"""

import collections
import itertools
import math
import os
from dataclasses import dataclass
from typing import NamedTuple

import torch

import checkpoint
import device
from conversation import prompt
from memory import in_view
from model import KVCache


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. Order: repetition penalty, temperature, top-k, top-p, min-p."""

    temperature: float = 0.8  # 0 takes the likeliest token always
    top_k: int | None = None  # keep the k likeliest tokens
    top_p: float = 0.9  # keep the likeliest tokens that make up this share (Holtzman 2019); 1.0 keeps all
    min_p: float = 0.0  # keep tokens at least this times as likely as the likeliest (Nguyen 2024)
    repetition_penalty: float = 1.1  # logits of the bot's own recent tokens are divided by it (Keskar 2019); 1.0: none
    penalty_window: int = 64  # how many of the bot's last tokens count as recent
    max_new_tokens: int = 200
    stop: tuple[str, ...] = ()  # text that ends a reply and is not shown; once for each: --stop=bye --stop="see you"
    seed: int | None = None  # the same seed gives the same text

    def __post_init__(self):
        limits = {
            "temperature": self.temperature == 0 or 1e-6 <= self.temperature < math.inf,  # float32 holds the quotients
            "top_k": self.top_k is None or self.top_k >= 1,
            "top_p": 0 < self.top_p <= 1,
            "min_p": 0 <= self.min_p <= 1,
            "repetition_penalty": self.repetition_penalty > 0,
            "penalty_window": self.penalty_window >= 0,
            "max_new_tokens": self.max_new_tokens >= 1,
            "stop": all(self.stop),
            "seed": self.seed is None or 0 <= self.seed < 2**62,
        }
        for name, fine in limits.items():
            if not fine:
                raise ValueError(f"{name} ({getattr(self, name)!r}) is out of its range")


@dataclass(frozen=True)
class EngineConfig(Sampling):
    """Where the model is and how it speaks: shared by every script that generates."""

    out_dir: str = "out-chat"  # the model folder that train.py wrote
    init_from: str | None = None  # in its place: any GPT-2 folder, or gpt2, gpt2-medium, gpt2-large, gpt2-xl
    device: str = "auto"  # cpu, cuda, cuda:1, mps
    dtype: str = "auto"  # float32, bfloat16, float16: of the weights
    threads: int | None = None  # CPU threads; default: one a core


class Token(NamedTuple):
    id: int | None  # None when generation ended without a token to show
    reason: str | None  # why it ended, None while it goes on


class Piece(NamedTuple):
    text: str
    reason: str | None  # end_of_turn, stop, length or context, on the last piece; None while it goes on


def adjusted(logits, sampling, recent):
    """Logits (n_vocab,) as `sampling` changes them, -inf where a token is ruled out. recent: ids that are penalised."""
    logits = logits.clone()
    if sampling.repetition_penalty != 1.0 and recent:
        ids = torch.tensor(sorted(set(recent)))
        scores = logits[ids]
        logits[ids] = torch.where(
            scores < 0, scores * sampling.repetition_penalty, scores / sampling.repetition_penalty
        )
    if sampling.temperature == 0:
        return logits
    logits /= sampling.temperature
    if sampling.top_k is not None and sampling.top_k < len(logits):
        logits[logits < torch.topk(logits, sampling.top_k).values[-1]] = -torch.inf
    if sampling.top_p < 1.0:
        probs, order = torch.softmax(logits, dim=-1).sort(descending=True)
        logits[order[probs.cumsum(dim=-1) - probs >= sampling.top_p]] = -torch.inf
    if sampling.min_p > 0:
        probs = torch.softmax(logits, dim=-1)
        logits[probs < sampling.min_p * probs.max()] = -torch.inf
    return logits


def sample(logits, sampling, generator, recent=()):
    """The next id, drawn from logits (n_vocab,)."""
    logits = adjusted(logits.float().cpu(), sampling, recent)
    if sampling.temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial(torch.softmax(logits, dim=-1), 1, generator=generator))


class Engine:
    """A model that generates, one sequence at a time."""

    def __init__(self, model, tokenizer):
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.block_size = model.config.block_size
        weight = model.transformer.wte.weight
        self.device = weight.device
        self.cache = KVCache(model.config, 1, weight.device, weight.dtype)
        self.cached = []  # the ids whose keys and values the cache holds

    @torch.no_grad()
    def logits(self, ids):
        """Logits (n_vocab,) after `ids`; only those that the cache does not hold already are computed."""
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(self.cached, ids, strict=False)))
        self.cache.length = min(same, len(ids) - 1)
        new = ids[self.cache.length :]
        self.cached = self.cached[: self.cache.length]
        logits, _ = self.model(torch.tensor([new], device=self.device), cache=self.cache, last_only=True)
        self.cached = list(ids)
        return logits[0, -1]

    def generate(self, ids, sampling, banned=(), ends=(), recent=()):
        """
        Yield a Token for each new id after `ids`; the last one carries the reason: "end" (one of `ends`, not shown),
        "length" or "context". banned: ids never drawn. recent: ids penalised before the first new one.
        """
        if not 1 <= len(ids) <= self.block_size:
            raise ValueError(f"generation starts from 1 to {self.block_size} tokens, not {len(ids)}")
        generator = torch.Generator()
        generator.manual_seed(sampling.seed if sampling.seed is not None else int.from_bytes(os.urandom(7), "big"))
        ids, recent = list(ids), collections.deque(recent, maxlen=sampling.penalty_window)
        for n in itertools.count(1):
            logits = self.logits(ids)
            if banned:
                logits[list(banned)] = -torch.inf
            id = sample(logits, sampling, generator, recent)
            if id in ends:
                yield Token(None, "end")
                return
            ids.append(id)
            recent.append(id)
            # the context's last position may hold a token that is read no more
            reason = "length" if n == sampling.max_new_tokens else "context" if len(ids) > self.block_size else None
            yield Token(id, reason)
            if reason:
                return

    def reply(self, messages, sampling):
        """
        Yield the Pieces of the bot's reply to `messages` (role, content dicts; the last by the user).
        A chat longer than the context loses its oldest turns. Raises InputError if the last message alone is too long.
        """
        tokenizer = self.tokenizer
        room = self.block_size - min(sampling.max_new_tokens, self.block_size // 4)
        ids = prompt(in_view(messages, tokenizer, room), tokenizer)
        said = [id for m in messages if m["role"] == "assistant" for id in tokenizer.encode(" " + m["content"])]
        recent = said[-sampling.penalty_window :] if sampling.penalty_window else []
        banned = (tokenizer.system, tokenizer.human, tokenizer.bot)  # nobody else's turn: it speaks for itself only
        ends = (tokenizer.end_of_turn, tokenizer.endoftext)
        decode, held = tokenizer.decoder(), HeldText(sampling.stop)
        for token in self.generate(ids, sampling, banned, ends, recent):
            text = held.add(("" if token.id is None else decode(token.id)) + (decode(None) if token.reason else ""))
            if held.stopped:
                yield Piece(text, "stop")
                return
            if token.reason:
                yield Piece(text + held.rest(), {"end": "end_of_turn"}.get(token.reason, token.reason))
                return
            if text:
                yield Piece(text, None)


class HeldText:
    """Streamed text without stop words: what may begin one is held back; strip: white space around is taken off."""

    def __init__(self, stop, strip=True):
        self.stop = stop
        self.strip = strip
        self.held = ""
        self.begun = False  # something was shown
        self.stopped = False  # a stop word came; nothing after it is wanted

    def add(self, text):
        """What can be shown now that `text` has come."""
        self.held += text
        hits = [(self.held.find(word) + len(word), -len(word)) for word in self.stop if word in self.held]
        if hits:
            self.stopped = True
            end, length = min(hits)  # the word that is whole first; the longest of those that end there
            self.held = self.held[: end + length]
            return self.rest()
        partial = max((n for word in self.stop for n in range(1, len(word)) if self.held.endswith(word[:n])), default=0)
        shown = self.held[: len(self.held) - partial]
        return self.taken(len(shown.rstrip() if self.strip else shown))

    def rest(self):
        """What is left to show when no more text comes."""
        return self.taken(len(self.held.rstrip() if self.strip else self.held))

    def taken(self, n):
        """The first n characters of what is held, which are held no more."""
        shown, self.held = self.held[:n], self.held[n:]
        if self.strip and not self.begun:
            shown = shown.lstrip()
        self.begun = self.begun or bool(shown)
        return shown


def opened(settings):
    """(Engine, chat.json's content) for an EngineConfig. Raises InputError."""
    where = device.chosen(settings.device, settings.dtype, settings.threads)
    model, tokenizer, chat = checkpoint.load(settings.init_from or settings.out_dir)
    if where.type == "cpu" and settings.dtype == "auto":
        return Engine(model, tokenizer), chat  # one token at a time, float32 is not slower to compute than to convert
    return Engine(model.to(where.name, device.DTYPES[where.dtype]), tokenizer), chat
