"""
Generation: one loop for a chat, for raw text, streaming or not.

    engine = Engine(model, tokenizer)
    for piece in engine.reply([{"role": "user", "content": "hi"}], Sampling(temperature=0.7)):
        print(piece.text, end="", flush=True)
    print(piece.reason)                       # end_of_turn, stop, length or context

    for i, piece in engine.replies([(messages, sampling), ...]):      # many at once, in an Engine of many slots

The KV cache survives from one call to the next: only what differs from the last conversation is computed.
"""

import collections
import concurrent.futures
import contextlib
import functools
import itertools
import os
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

import checkpoint
import device
from configurator import InputError
from memory import in_view
from model import KVCache
from quantize import Decoder, Packed, cache_dtype, compile_kernels, quantize
from rendering import Tags, rendering_of
from sampling import HeldText, Sampling, logprobs_of, sample

ALIKE = 8  # tokens that two prompts have in common are worth a step's wait
PREFILL = 256  # tokens of prompts a step at most, so that those who are talking go on


@dataclass(frozen=True)
class EngineConfig(Sampling):
    """Where the model is and how it speaks: shared by every script that generates."""

    out_dir: str = "out-chat"  # the model folder that train.py wrote
    init_from: str | None = None  # in its place: any GPT-2 folder, or gpt2, gpt2-medium, gpt2-large, gpt2-xl
    device: str = "auto"  # cpu, cuda, cuda:1, mps
    dtype: str = "auto"  # float32, bfloat16, float16: what is computed in
    weights: Literal["auto", "full", "bfloat16", "int8", "int4"] = "auto"  # how a CPU keeps them; auto: int8
    threads: int | None = None  # CPU threads; default: one a core


class Token(NamedTuple):
    id: int | None  # None when generation ended without a token to show
    reason: str | None  # why it ended, None while it goes on
    logprob: float | None = None  # with Sampling.logprobs: before any operator
    likeliest: tuple = ()  # (id, logprob) pairs


class Piece(NamedTuple):
    text: str
    reason: str | None  # end_of_turn, stop, length or context, on the last piece; None while it goes on
    n_tokens: int = 0  # of the reply so far


class Full(RuntimeError):
    """Every slot of the engine is taken."""


class Sequence:
    """What one generation has said so far, and how it goes on. Made by Engine.join."""

    def __init__(self, ids, sampling, banned, ends, recent, turn=0):
        self.turn = turn  # who joined before whom
        self.ids = list(ids)
        self.sampling = sampling
        self.banned = list(banned)
        self.ends = {*ends, *map(int, sampling.stop_ids)}
        self.recent = collections.deque(recent, maxlen=sampling.penalty_window)
        self.generator = torch.Generator()
        self.generator.manual_seed(sampling.seed if sampling.seed is not None else int.from_bytes(os.urandom(7), "big"))
        self.n_new = 0
        self.reused = 0  # of its first ids, how many the cache held already

    def next_token(self, logits, block_size):
        """The Token that follows, drawn from logits (n_vocab,); its reason is set on the last one."""
        if self.banned:
            logits[self.banned] = -torch.inf
        id = sample(logits, self.sampling, self.generator, self.recent)
        if id in self.ends:
            return Token(None, "end")
        told = () if self.sampling.logprobs is None else logprobs_of(logits, id, self.sampling.logprobs)
        self.ids.append(id)
        self.recent.append(id)
        self.n_new += 1
        if self.n_new == self.sampling.max_new_tokens:
            return Token(id, "length", *told)
        # the context's last position may hold a token that is read no more
        return Token(id, "context" if len(self.ids) > block_size else None, *told)


class Engine:
    """
    A model that generates, up to `slots` sequences at once, each at its own position and with its own sampling: join
    at any token, leave at any token. A slot keeps the keys and values of the last sequence it held.
    """

    def __init__(self, model, tokenizer, rendering=None, slots=1):
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.rendering = rendering or Tags(tokenizer)
        self.block_size = model.config.block_size
        weight = model.transformer.wpe.weight
        self.device = weight.device
        self.cache = KVCache(model.config, slots, weight.device, cache_dtype(model))
        self.decoder = Decoder(model) if Decoder.fits(model) else None
        self.bytes_read = self.decoder.bytes if self.decoder else sum(p.nbytes for p in model.parameters())  # a token
        self.cached = [[] for _ in range(slots)]  # for each slot, the ids whose keys and values the cache holds
        self.running = [None] * slots  # for each slot, the Sequence that it serves
        self.wide = False  # the decoder takes any number of tokens at once
        self.turns = itertools.count()
        self.computed = 0  # tokens, ever

    def join(self, ids, sampling, banned=(), ends=(), recent=()):
        """
        The Sequence that continues `ids` from the next step on. Raises Full.
        banned: ids never drawn. ends: ids that end it, and are not shown. recent: ids penalised before the first new.
        """
        if not 1 <= len(ids) <= self.block_size:
            raise ValueError(f"generation starts from 1 to {self.block_size} tokens, not {len(ids)}")
        free = [slot for slot, sequence in enumerate(self.running) if sequence is None]
        if not free:
            raise Full(f"all {len(self.running)} slots are taken")
        slot = max(free, key=lambda slot: shared(self.cached[slot], ids))
        del self.cached[slot][min(shared(self.cached[slot], ids), len(ids) - 1) :]
        self.running[slot] = Sequence(ids, sampling, banned, ends, recent, next(self.turns))
        self.running[slot].reused = len(self.cached[slot])
        return self.running[slot]

    def leave(self, sequence):
        """Free the sequence's slot, if it still has one."""
        self.running = [None if each is sequence else each for each in self.running]

    @torch.inference_mode()
    def step(self):
        """[(Sequence, Token)]: one more token for each sequence that runs; those that end leave their slots."""
        slots = sorted((slot for slot, one in enumerate(self.running) if one), key=lambda slot: self.running[slot].turn)
        room = PREFILL if len(slots) > 1 else self.block_size
        work, begun = {}, []  # slot: how many of its ids are computed now; the prompts among them
        for slot in slots:
            ids = self.running[slot].ids
            if len(ids) - len(self.cached[slot]) > 1 and room > 0:
                self.share(slot, ids)
            behind, least = len(ids) - len(self.cached[slot]), len(self.cached[slot]) + ALIKE
            if behind == 1:
                work[slot] = 1
            elif room > 0 and not any(
                shared(ids, other) > least for other in begun
            ):  # else its beginning is there next
                work[slot] = min(behind, room)
                room -= work[slot]
                begun.append(ids)
        ends = {slot for slot, n in work.items() if len(self.cached[slot]) + n == len(self.running[slot].ids)}
        together = sorted(slot for slot, n in work.items() if n == 1 or self.wide)
        alone = [[slot] for slot in work if slot not in together]
        logits = {}
        for group in alone + [together] * bool(together):
            found = self.logits(group, [work[slot] for slot in group])
            logits.update((slot, row) for slot, row in zip(group, found, strict=True) if slot in ends)
        tokens = []
        for slot in sorted(logits):
            sequence = self.running[slot]
            token = sequence.next_token(logits[slot], self.block_size)
            tokens.append((sequence, token))
            if token.reason:
                self.running[slot] = None
        return tokens

    def share(self, slot, ids):
        """Copy the longest beginning of `ids` that any slot has computed, if it is longer than this slot's own."""
        same = [min(shared(cached, ids), len(ids) - 1) for cached in self.cached]
        source = max(range(len(same)), key=lambda slot: same[slot])
        n = same[source]
        if n > len(self.cached[slot]):
            self.running[slot].reused += n - len(self.cached[slot])
            for held in (self.cache.k, self.cache.v):
                held[:, slot, :, :n] = held[:, source, :, :n]
            self.cached[slot] = list(ids[:n])

    def logits(self, slots, n):
        """
        Logits (len(slots), n_vocab) after the next ids that the caches of these slots lack, n[i] for slots[i]: one of
        each, or many of one, or, where the decoder is wide, any.
        """
        new = [self.running[slot].ids[len(self.cached[slot]) :][:k] for slot, k in zip(slots, n, strict=True)]
        self.computed += sum(n)
        few = self.decoder and (self.wide or len(new[0]) <= Decoder.MOST)
        logits = (self.decoded if few else self.forward)(slots, new)
        for slot, ids in zip(slots, new, strict=True):
            self.cached[slot] += ids
        return logits

    def decoded(self, slots, new):
        rows = [slot for slot, ids in zip(slots, new, strict=True) for _ in ids]
        places = [len(self.cached[slot]) + i for slot, ids in zip(slots, new, strict=True) for i in range(len(ids))]
        wanted = [end - 1 for end in itertools.accumulate(map(len, new))]
        return self.decoder(list(itertools.chain(*new)), rows, places, self.cache, wanted)

    def forward(self, slots, new):
        """By the model itself. Slots in between go along with a dummy, behind all that their caches hold."""
        first, end = slots[0], slots[-1] + 1
        ids = dict(zip(slots, new, strict=True))
        for slot in range(first, end):
            if slot not in ids:
                del self.cached[slot][self.block_size - 1 :]  # room for the dummy
        cache = self.cache[first:end]
        cache.lengths[:] = torch.tensor([len(self.cached[slot]) for slot in range(first, end)])
        idx = torch.tensor([ids.get(slot, [0]) for slot in range(first, end)], device=self.device)
        logits, _ = self.model(idx, cache=cache, last_only=True)
        return logits[[slot - first for slot in slots], -1].float().cpu()

    def generate(self, ids, sampling, banned=(), ends=(), recent=()):
        """
        Yield a Token for each new id after `ids`; the last one carries the reason: "end" (one of `ends`, not shown),
        "length" or "context". banned, ends, recent: as Engine.join has them.
        """
        sequence = self.join(ids, sampling, banned, ends, recent)
        try:
            while sequence in self.running:
                yield from (token for each, token in self.step() if each is sequence)
        finally:
            self.leave(sequence)

    def prompt(self, messages, sampling):
        """The ids that a reply to `messages` continues, old turns dropped where room is needed. Raises InputError."""
        room = self.block_size - min(sampling.max_new_tokens, self.block_size // 4)
        return self.rendering.prompt(in_view(messages, self.rendering.prompt, room))

    def reply(self, messages, sampling):
        """
        Yield the Pieces of the bot's reply to `messages` (role, content dicts; the last by the user).
        A chat longer than the context loses its oldest turns. Raises InputError if the last message alone is too long.
        """
        with contextlib.closing(self.replies([(messages, sampling)])) as pieces:
            yield from (piece for _, piece in pieces)

    def replies(self, requests):
        """
        Yield (i, Piece) for request number i of an iterable of (messages, sampling), as `reply` would for each alone;
        as many at once as there are slots, the next one as soon as one ends.
        """
        waiting, talking = enumerate(requests), {}
        try:
            while True:
                for i, (messages, sampling) in itertools.islice(waiting, self.running.count(None)):
                    reply = Reply(self, messages, sampling)
                    talking[reply.sequence] = i, reply
                if not talking:
                    return
                for sequence, token in self.step():
                    i, reply = talking[sequence]
                    piece = reply.piece(token)
                    if piece.reason:
                        self.leave(sequence)
                        del talking[sequence]
                    if piece.text or piece.reason:
                        yield i, piece
        finally:
            for sequence in talking:
                self.leave(sequence)


class Reply:
    """A reply under way: tokens in, Pieces out. Takes a slot of the engine."""

    def __init__(self, engine, messages, sampling):
        rendering, tokenizer = engine.rendering, engine.tokenizer
        said = [id for m in messages if m["role"] == "assistant" for id in tokenizer.encode(" " + m["content"])]
        recent = said[-sampling.penalty_window :] if sampling.penalty_window else []
        ids = engine.prompt(messages, sampling)
        self.sequence = engine.join(ids, sampling, rendering.banned, rendering.ends, recent)
        self.decode, self.held = tokenizer.decoder(), HeldText(sampling.stop)

    def piece(self, token):
        """The Piece that `token` makes visible; its text may be empty."""
        text = ("" if token.id is None else self.decode(token.id)) + (self.decode(None) if token.reason else "")
        text, n = self.held.add(text), self.sequence.n_new
        if self.held.stopped:
            return Piece(text, "stop", n)
        if token.reason:
            return Piece(text + self.held.rest(), {"end": "end_of_turn"}.get(token.reason, token.reason), n)
        return Piece(text, None, n)


def shared(a, b):
    """How many ids two lists begin with alike."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def opened(settings, slots=1):
    """(Engine, chat.json's content) for an EngineConfig. Raises InputError."""
    where = device.chosen(settings.device, settings.dtype, settings.threads)
    folder = settings.init_from or settings.out_dir
    weights = settings.weights
    if weights == "auto":
        weights = "int8" if where.type == "cpu" and settings.dtype == "auto" else "full"
    if weights != "full" and where.type != "cpu":
        raise InputError(f"--weights={weights} is for a CPU, this is {where.name}; leave it out, or --device=cpu")
    if weights == "full":
        model, tokenizer, chat = checkpoint.load(folder)
        if where.type != "cpu" or settings.dtype != "auto":  # else float32 is not slower to compute than to convert
            model = model.to(where.name, device.DTYPES[where.dtype])
    else:
        packed = functools.partial(Packed, format=weights, dtype=device.DTYPES[where.dtype])
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            compiled = pool.submit(compile_kernels, weights)
            model, tokenizer, chat = checkpoint.load(folder, linear=packed)
            model = quantize(model, weights, device.DTYPES[where.dtype])
            compiled.result()
    opened = Engine(model, tokenizer, rendering_of(folder, tokenizer, chat), slots)
    if opened.decoder and slots > Decoder.WIDE:
        opened.wide = opened.decoder.widen()
    return opened, chat
