"""
Generation: one loop for a chat, for raw text, streaming or not.

    engine = Engine(model, tokenizer)
    for piece in engine.reply([{"role": "user", "content": "hi"}], SamplingParams(temperature=0.7)):
        print(piece.text, end="", flush=True)
    print(piece.reason)                       # a FinishReason

    for i, piece in engine.replies([(messages, sampling), ...]):      # many at once, in an Engine of many slots

The KV cache survives from one call to the next: of a prompt, only what differs from the last one is computed.
"""

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator

import torch

from inference.model_runner import ModelRunner, common_prefix_length
from inference.sequence import Sequence, Token
from inference.settings import SamplingParams
from inference.streaming import Detokenizer, Piece
from model import GPT
from runtime.errors import InputError
from tokenization.chat_template import ChatTags, ChatTemplate, document
from tokenization.context import messages_in_view
from tokenization.tokenizer import Tokenizer

# Tokens. A prompt waits one step if another prompt of that step begins with at least so many tokens more of it than its
# own slot holds: copying their keys and values is cheaper than computing them again.
MIN_SHARED_PREFIX = 8
# Tokens of prompts in one step while several sequences run: a long prompt is computed in parts, so that the others
# need not wait long for their next token. 64 tokens of the model in the box take two cores 7 ms.
MAX_PREFILL_TOKENS = {"cpu": 64, "cuda": 4096, "mps": 256}
WIDE_PREFILL_TOKENS = 256  # likewise where many sequences are made at once and nobody reads along
MAX_SCORED_TOKENS = 64  # of a prompt in one step, whose logits are all kept: 13 MB for GPT-2's vocabulary


class CapacityError(RuntimeError):
    """Every slot of the engine is taken."""


class Engine:
    """
    A model that generates up to `slots` sequences at once. Each has its own length and sampling, and may be added or
    aborted before any step. A slot keeps the keys and values of its last sequence for one that begins alike.
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        template: ChatTemplate | None = None,
        slots: int = 1,
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.template = template or ChatTags(tokenizer)
        self.block_size = model.config.block_size
        self.runner = ModelRunner(self.model, slots)
        self.running: list[Sequence | None] = [None] * slots  # by slot
        self.arrivals = itertools.count()
        self.computed = 0  # tokens that went through the model since the start

    # ids in, ids out

    def add_request(
        self,
        ids: list[int],
        sampling: SamplingParams,
        suppress_tokens: Iterable[int] = (),
        stop_token_ids: Iterable[int] = (),
        recent: Iterable[int] = (),
        score_prompt: bool = False,
    ) -> Sequence:
        """
        The Sequence that continues `ids` from the next step on.
        suppress_tokens: ids that are never drawn, beside those that the model was never taught. stop_token_ids: ids
        that end it and are not shown. recent: ids that the penalties look at before any was generated. score_prompt:
        Sequence.prompt_logprobs is wanted.
        Raises CapacityError if no slot is free, ValueError if there are no ids, or more than the context holds.
        """
        if not 1 <= len(ids) <= self.block_size:
            raise ValueError(f"generation starts from 1 to {self.block_size} tokens, not {len(ids)}")
        free = [slot for slot, sequence in enumerate(self.running) if sequence is None]
        if not free:
            raise CapacityError(f"all {len(self.running)} slots are taken")
        cached = self.runner.cached
        slot = max(free, key=lambda slot: common_prefix_length(cached[slot], ids))
        # the last id is always computed: the first token is drawn from its logits
        n_kept = 0 if score_prompt else min(common_prefix_length(cached[slot], ids), len(ids) - 1)
        del cached[slot][n_kept:]
        sequence = Sequence(
            slot,
            next(self.arrivals),
            ids,
            sampling,
            suppress_tokens=dict.fromkeys((*self.template.untrained, *suppress_tokens)),
            stop_token_ids=stop_token_ids,
            recent=recent,
            score_prompt=score_prompt,
        )
        sequence.num_cached_tokens = len(cached[slot])
        self.running[slot] = sequence
        return sequence

    def abort(self, sequence: Sequence) -> None:
        """Free the sequence's slot, if it still has one."""
        if self.running[sequence.slot] is sequence:
            self.running[sequence.slot] = None

    def forget(self) -> None:
        """Drop what the slots that are free have computed: the whole of the next prompts is computed."""
        for slot, sequence in enumerate(self.running):
            if sequence is None:
                self.runner.cached[slot].clear()

    @torch.inference_mode()
    def step(self) -> list[tuple[Sequence, Token]]:
        """One more token for each sequence whose prompt is computed; those that end leave their slots."""
        return self.draw(self.run(self.schedule()))

    def schedule(self) -> dict[Sequence, int]:
        """How many of the ids of which sequences are computed in this step."""
        running = sorted((sequence for sequence in self.running if sequence), key=lambda sequence: sequence.arrival)
        most = WIDE_PREFILL_TOKENS if self.runner.wide else MAX_PREFILL_TOKENS[self.runner.device.type]
        budget = most if len(running) > 1 else self.block_size
        scheduled: dict[Sequence, int] = {}
        prompts: list[list[int]] = []  # the prompts of this step
        for sequence in running:
            cached = self.runner.cached[sequence.slot]
            if sequence.is_scoring:
                if budget > 0:
                    scheduled[sequence] = min(len(sequence.ids) - len(cached), budget, MAX_SCORED_TOKENS)
                    budget -= scheduled[sequence]
                continue
            if len(sequence.ids) - len(cached) > 1 and budget > 0:
                sequence.num_cached_tokens += self.runner.copy_shared_prefix(sequence.slot, sequence.ids)
            missing = len(sequence.ids) - len(cached)
            if missing == 1:  # decode
                scheduled[sequence] = 1
                continue
            most_shared = max((common_prefix_length(sequence.ids, ids) for ids in prompts), default=0)
            if budget > 0 and most_shared <= len(cached) + MIN_SHARED_PREFIX:  # prefill
                scheduled[sequence] = min(missing, budget)
                budget -= scheduled[sequence]
                prompts.append(sequence.ids)
        return scheduled

    def run(self, scheduled: dict[Sequence, int]) -> dict[Sequence, torch.Tensor | int]:
        """
        Compute so many ids of each sequence: logits (n_vocab,) of those of which no id is left to compute, or the next
        id, where a GPU drew it already.
        """
        runner, cached = self.runner, self.runner.cached
        scored = [sequence for sequence in scheduled if sequence.is_scoring]
        batched = [sequence for sequence, n in scheduled.items() if (n == 1 or runner.wide) and sequence not in scored]
        groups = [[sequence] for sequence in scheduled if sequence not in batched]  # a prompt alone
        if batched:
            groups.append(sorted(batched, key=lambda sequence: sequence.slot))
        logits: dict[Sequence, torch.Tensor | int] = {}
        for group in groups:
            new_ids = [sequence.ids[len(cached[sequence.slot]) :][: scheduled[sequence]] for sequence in group]
            if group[0] in scored:
                all_rows = runner.all_logits(group[0].slot, new_ids[0])
                group[0].score(all_rows)
                rows = all_rows[-1:]
            elif runner.gpu_decoder and len(new_ids[0]) == 1:
                rows = runner.decode_on_gpu(runner.gpu_decoder, group)
            else:
                rows = runner.logits([sequence.slot for sequence in group], new_ids)
            for sequence, ids, row in zip(group, new_ids, rows, strict=True):
                self.computed += len(ids)
                cached[sequence.slot] += ids
                if len(cached[sequence.slot]) == len(sequence.ids):
                    logits[sequence] = row
        return logits

    def draw(self, logits: dict[Sequence, torch.Tensor | int]) -> list[tuple[Sequence, Token]]:
        """The next token of each sequence, in the order of their slots; those that end leave their slots."""
        tokens = []
        for sequence in sorted(logits, key=lambda sequence: sequence.slot):
            token = sequence.next_token(logits[sequence], self.block_size)
            tokens.append((sequence, token))
            if token.reason:
                self.abort(sequence)
        return tokens

    def generate(
        self,
        ids: list[int],
        sampling: SamplingParams,
        suppress_tokens: Iterable[int] = (),
        stop_token_ids: Iterable[int] = (),
        recent: Iterable[int] = (),
    ) -> Iterator[Token]:
        """Yield a Token for each new id after `ids`; the last one has a reason. Arguments: those of add_request."""
        sequence = self.add_request(ids, sampling, suppress_tokens, stop_token_ids, recent)
        try:
            while sequence in self.running:
                yield from (token for other, token in self.step() if other is sequence)
        finally:
            self.abort(sequence)

    # messages or text in, text out

    def max_prompt_tokens(self, sampling: SamplingParams) -> int:
        """How many tokens a prompt may have, so that the context holds a reply as well."""
        return self.block_size - min(sampling.max_new_tokens, self.block_size // 4)

    def prompt(self, messages: list[dict[str, str]], sampling: SamplingParams) -> list[int]:
        """
        The ids that a reply to `messages` continues: without the oldest turns where the context could not hold the
        reply as well. Raises InputError if the last message alone is too long.
        """
        template = self.template
        last = messages[-1] if goes_on(messages) else None
        begun = [id for id in template.reply(last["content"]) if id not in template.stop_token_ids] if last else []

        def prompt(view: list[dict[str, str]]) -> list[int]:
            return template.prompt(view[:-1]) + begun if last and view and view[-1] is last else template.prompt(view)

        return prompt(messages_in_view(messages, prompt, self.max_prompt_tokens(sampling)))

    def reply(self, messages: list[dict[str, str]], sampling: SamplingParams) -> Generator[Piece, None, None]:
        """
        Yield the Pieces of the bot's reply to `messages` (role, content dicts; the last by the user), or of the rest of
        the bot's own last message. A chat longer than the context loses its oldest turns. Raises InputError if the
        last message alone is too long.
        """
        with contextlib.closing(self.replies([(messages, sampling)])) as pieces:
            yield from (piece for _, piece in pieces)

    def replies(
        self, requests: Iterable[tuple[list[dict[str, str]], SamplingParams]]
    ) -> Generator[tuple[int, Piece], None, None]:
        """
        Yield (i, Piece) for request number i of an iterable of (messages, sampling), as `reply` would for each alone;
        as many at once as there are slots, the next one as soon as one ends.
        """
        return self.stream(self.start_reply(messages, sampling) for messages, sampling in requests)

    def start_reply(self, messages: list[dict[str, str]], sampling: SamplingParams) -> tuple[Sequence, Detokenizer]:
        """Add the request for a reply. The penalties look at the bot's own words, those of earlier turns included."""
        replies = (message["content"] for message in messages if message["role"] == "assistant")
        spoken = [token_id for text in replies for token_id in self.tokenizer.encode(" " + text)]
        sequence = self.add_request(
            self.prompt(messages, sampling),
            sampling,
            suppress_tokens=self.template.suppress_tokens,
            stop_token_ids=self.template.stop_token_ids,
            recent=spoken,  # of which a Sequence keeps the last penalty_window
        )
        return sequence, Detokenizer(self.tokenizer.decoder(), sampling.stop, continues=goes_on(messages))

    def continuations(self, texts: Iterable[str], sampling: SamplingParams) -> Generator[tuple[int, Piece], None, None]:
        """
        Yield (i, Piece) of what follows text number i, the beginning of a document, until the context is full.
        Raises InputError if a text is longer than the context.
        """
        return self.stream(self.start_continuation(text, sampling) for text in texts)

    def start_continuation(self, text: str, sampling: SamplingParams) -> tuple[Sequence, Detokenizer]:
        """Add the request for a continuation. The penalties look at the text as well."""
        ids = document(self.template, text)
        if len(ids) > self.block_size:
            raise InputError(f"a prompt has {len(ids)} tokens, the context {self.block_size}; shorten it")
        sequence = self.add_request(
            ids,
            sampling,
            stop_token_ids=self.template.document_stop_ids,
            recent=ids,
        )
        return sequence, Detokenizer(self.tokenizer.decoder(), sampling.stop, strip=False)

    def stream(self, requests: Iterable[tuple[Sequence, Detokenizer]]) -> Generator[tuple[int, Piece], None, None]:
        """
        Yield (i, Piece) for request number i. `requests` adds each one to the engine when it is iterated, which is as
        soon as a slot is free.
        """
        waiting = enumerate(requests)
        running: dict[Sequence, tuple[int, Detokenizer]] = {}
        try:
            while True:
                for i, (sequence, detokenizer) in itertools.islice(waiting, self.running.count(None)):
                    running[sequence] = i, detokenizer
                if not running:
                    return
                for sequence, token in self.step():
                    i, detokenizer = running[sequence]
                    piece = detokenizer.add(token.id, token.reason)
                    if piece.reason:
                        self.abort(sequence)
                        del running[sequence]
                    if piece.text or piece.reason:
                        yield i, piece
        finally:
            for sequence in running:
                self.abort(sequence)


def goes_on(messages: list[dict[str, str]]) -> bool:
    """Whether a reply to the messages is the rest of their last one, the bot's own."""
    return messages[-1:] != [] and messages[-1]["role"] == "assistant"
