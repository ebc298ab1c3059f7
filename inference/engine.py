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
import contextlib
import itertools
import os
from typing import NamedTuple

import torch

from inference.cpu_decoder import CPUDecoder, cache_dtype
from inference.quantize import MAX_KERNEL_ROWS
from inference.sampling import logprobs_of, sample_token
from inference.streaming import Reply
from model import KVCache
from tokenization.chat_template import ChatTags
from tokenization.context import messages_in_view

MIN_SHARED_PREFIX = 8  # tokens that two prompts have in common are worth a step's wait
MAX_PREFILL_TOKENS = 256  # tokens of prompts a step at most, so that those who are talking go on


class Token(NamedTuple):
    id: int | None  # None when generation ended without a token to show
    reason: str | None  # why it ended, None while it goes on
    logprob: float | None = None  # with Sampling.logprobs: before any operator
    likeliest: tuple = ()  # (id, logprob) pairs


class CapacityError(RuntimeError):
    """Every slot of the engine is taken."""


class Sequence:
    """What one generation has said so far, and how it goes on. Made by Engine.add_request."""

    def __init__(self, ids, sampling, suppress_tokens, stop_token_ids, recent, turn=0):
        self.turn = turn  # who joined before whom
        self.ids = list(ids)
        self.sampling = sampling
        self.suppress_tokens = list(suppress_tokens)
        self.stop_token_ids = {*stop_token_ids, *map(int, sampling.stop_ids)}
        self.recent = collections.deque(recent, maxlen=sampling.penalty_window)
        self.generator = torch.Generator()
        self.generator.manual_seed(sampling.seed if sampling.seed is not None else int.from_bytes(os.urandom(7), "big"))
        self.num_generated = 0
        self.num_cached_tokens = 0  # of its first ids, how many the cache held already

    def next_token(self, logits, block_size):
        """The Token that follows, drawn from logits (n_vocab,); its reason is set on the last one."""
        if self.suppress_tokens:
            logits[self.suppress_tokens] = -torch.inf
        id = sample_token(logits, self.sampling, self.generator, self.recent)
        if id in self.stop_token_ids:
            return Token(None, "end")
        told = () if self.sampling.logprobs is None else logprobs_of(logits, id, self.sampling.logprobs)
        self.ids.append(id)
        self.recent.append(id)
        self.num_generated += 1
        if self.num_generated == self.sampling.max_new_tokens:
            return Token(id, "length", *told)
        # the context's last position may hold a token that is read no more
        return Token(id, "context" if len(self.ids) > block_size else None, *told)


class Engine:
    """
    A model that generates, up to `slots` sequences at once, each at its own position and with its own sampling: join
    at any token, leave at any token. A slot keeps the keys and values of the last sequence it held.
    """

    def __init__(self, model, tokenizer, template=None, slots=1):
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.template = template or ChatTags(tokenizer)
        self.block_size = model.config.block_size
        weight = model.transformer.wpe.weight
        self.device = weight.device
        self.cache = KVCache(model.config, slots, weight.device, cache_dtype(model))
        self.decoder = CPUDecoder(model) if CPUDecoder.fits(model) else None
        self.bytes_read = self.decoder.bytes if self.decoder else sum(p.nbytes for p in model.parameters())  # a token
        self.cached = [[] for _ in range(slots)]  # for each slot, the ids whose keys and values the cache holds
        self.running = [None] * slots  # for each slot, the Sequence that it serves
        self.wide = False  # the decoder takes any number of tokens at once
        self.turns = itertools.count()
        self.computed = 0  # tokens, ever

    def add_request(self, ids, sampling, suppress_tokens=(), stop_token_ids=(), recent=()):
        """
        The Sequence that continues `ids` from the next step on. Raises Full.
        suppress_tokens: ids never drawn. stop_token_ids: ids that end it, and are not shown. recent: ids that are
        penalised before the first new one.
        """
        if not 1 <= len(ids) <= self.block_size:
            raise ValueError(f"generation starts from 1 to {self.block_size} tokens, not {len(ids)}")
        free = [slot for slot, sequence in enumerate(self.running) if sequence is None]
        if not free:
            raise CapacityError(f"all {len(self.running)} slots are taken")
        slot = max(free, key=lambda slot: common_prefix_length(self.cached[slot], ids))
        del self.cached[slot][min(common_prefix_length(self.cached[slot], ids), len(ids) - 1) :]
        self.running[slot] = Sequence(ids, sampling, suppress_tokens, stop_token_ids, recent, next(self.turns))
        self.running[slot].num_cached_tokens = len(self.cached[slot])
        return self.running[slot]

    def abort(self, sequence):
        """Free the sequence's slot, if it still has one."""
        self.running = [None if each is sequence else each for each in self.running]

    @torch.inference_mode()
    def step(self):
        """[(Sequence, Token)]: one more token for each sequence that runs; those that end leave their slots."""
        slots = sorted((slot for slot, one in enumerate(self.running) if one), key=lambda slot: self.running[slot].turn)
        room = MAX_PREFILL_TOKENS if len(slots) > 1 else self.block_size
        work, begun = {}, []  # slot: how many of its ids are computed now; the prompts among them
        for slot in slots:
            ids = self.running[slot].ids
            if len(ids) - len(self.cached[slot]) > 1 and room > 0:
                self.share(slot, ids)
            behind, least = len(ids) - len(self.cached[slot]), len(self.cached[slot]) + MIN_SHARED_PREFIX
            if behind == 1:
                work[slot] = 1
            elif room > 0 and not any(
                common_prefix_length(ids, other) > least for other in begun
            ):  # else its beginning is there next
                work[slot] = min(behind, room)
                room -= work[slot]
                begun.append(ids)
        complete = {slot for slot, n in work.items() if len(self.cached[slot]) + n == len(self.running[slot].ids)}
        together = sorted(slot for slot, n in work.items() if n == 1 or self.wide)
        alone = [[slot] for slot in work if slot not in together]
        logits = {}
        for group in alone + [together] * bool(together):
            found = self.logits(group, [work[slot] for slot in group])
            logits.update((slot, row) for slot, row in zip(group, found, strict=True) if slot in complete)
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
        same = [min(common_prefix_length(cached, ids), len(ids) - 1) for cached in self.cached]
        source = max(range(len(same)), key=lambda slot: same[slot])
        n = same[source]
        if n > len(self.cached[slot]):
            self.running[slot].num_cached_tokens += n - len(self.cached[slot])
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
        few = self.decoder and (self.wide or len(new[0]) <= MAX_KERNEL_ROWS)
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
        logits = self.model(idx, cache=cache, last_only=True)
        return logits[[slot - first for slot in slots], -1].float().cpu()

    def generate(self, ids, sampling, suppress_tokens=(), stop_token_ids=(), recent=()):
        """
        Yield a Token for each new id after `ids`; the last one carries the reason: "end" (one of `ends`, not shown),
        "length" or "context". suppress_tokens, stop_token_ids, recent: as Engine.add_request has them.
        """
        sequence = self.add_request(ids, sampling, suppress_tokens, stop_token_ids, recent)
        try:
            while sequence in self.running:
                yield from (token for each, token in self.step() if each is sequence)
        finally:
            self.abort(sequence)

    def prompt(self, messages, sampling):
        """The ids that a reply to `messages` continues, old turns dropped where room is needed. Raises InputError."""
        room = self.block_size - min(sampling.max_new_tokens, self.block_size // 4)
        return self.template.prompt(messages_in_view(messages, self.template.prompt, room))

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
                        self.abort(sequence)
                        del talking[sequence]
                    if piece.text or piece.reason:
                        yield i, piece
        finally:
            for sequence in talking:
                self.abort(sequence)


def common_prefix_length(a, b):
    """How many ids two lists begin with alike."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
