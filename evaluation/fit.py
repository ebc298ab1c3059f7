"""How well a model predicts people's replies, and how much its own have in common with them: the group "Fit"."""

import collections
import math
import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from evaluation import likelihood, metrics
from evaluation.backends import Answer
from evaluation.prompting import Context
from evaluation.rows import Row, percent_row
from model import GPT
from runtime.errors import InputError
from tokenization.chat_format import Message
from tokenization.chat_template import ChatTemplate

CANDIDATES = 20  # replies that Hits@1 chooses from, as in ConvAI2
CONVAI2 = "ConvAI2 (Dinan et al. 2019)"


def fit_rows(
    model: GPT,
    template: ChatTemplate,
    conversations: Sequence[list[Message]],
    seed: int,
    progress: Callable[[int], object],
) -> list[Row]:
    """
    Rows of loss, perplexity and bits per byte (see likelihood.py) over the bot's replies in the conversations; the
    intervals are over conversations. Raises InputError if no reply fits in the model's context.
    """
    scored = likelihood.score_replies(model, template, conversations, progress)
    if not scored:
        raise InputError(f"no reply of the data fits in a context of {model.config.block_size} tokens")
    sums: dict[int, np.ndarray] = collections.defaultdict(lambda: np.zeros(6))  # of each conversation
    for reply in scored:
        n_words = len(convai2_words(reply.text))
        sums[reply.conversation] += (
            reply.words_nats, reply.end_nats, reply.n_tokens, 1, n_words, len(reply.text.encode())
        )  # fmt: skip
    words_nats, end_nats, n_tokens, n_replies, n_words, n_bytes = np.array([*sums.values()]).T

    def row(
        name: str,
        label: str,
        nats: np.ndarray,
        units: np.ndarray,
        figure: Callable[[float], float],
        unit: str,
        definition: str,
        source: str = "",
    ) -> Row:
        """The Row of figure(nats over units), both summed over conversations."""
        low, high = (figure(bound) for bound in metrics.interval(nats, units, seed=seed))
        return Row(
            "Fit", name, label, figure(nats.sum() / units.sum()), low, high, n=len(scored), unit=unit, better="lower",
            definition=definition, source=source,
        )  # fmt: skip

    return [
        row("loss", "loss", words_nats + end_nats, n_tokens + n_replies, float, "nats",
            "Mean negative log-likelihood of a supervised token: the bot's words and the end of its turn."),
        row("perplexity", "perplexity", words_nats + end_nats, n_tokens + n_replies, perplexity_of, "",
            "exp(loss): comparable between models of one tokenizer only."),
        row("bits_per_byte", "bits per byte", words_nats / math.log(2), n_bytes, float, "bits",
            "Bits to say the bot's words, over their UTF-8 bytes: comparable across tokenizers."),
        row("word_perplexity", "perplexity per word", words_nats, n_words, perplexity_of, "",
            "exp(nats of the bot's words / words and marks), no word left out.", CONVAI2),
    ]  # fmt: skip


def perplexity_of(nats: float) -> float:
    """exp of a mean; a float cannot hold that of much more than 700."""
    return math.exp(min(nats, 700.0))


def convai2_words(text: str) -> list[str]:
    """The words and marks that ConvAI2's perplexity is counted over: its marks stand apart."""
    for mark in ".,!?;:":
        text = text.replace(mark, f" {mark} ")
    return text.split()


def hits_at_1(
    model: GPT,
    template: ChatTemplate,
    contexts: Sequence[Context],
    conversations: Sequence[list[Message]],
    seed: int,
    progress: Callable[[int], object],
) -> Row:
    """The Row of Hits@1: how often the real reply is likelier than 19 from other places in the conversations."""
    rng = random.Random(f"{seed}/candidates")
    pool = sorted({m["content"] for messages in conversations for m in messages if m["role"] == "assistant"})
    hits = []
    for messages, gold in contexts:
        others = [text for text in rng.sample(pool, min(len(pool), CANDIDATES)) if text != gold][: CANDIDATES - 1]
        try:
            nats = likelihood.candidate_nats(model, template, messages, [gold, *others])
        except InputError:
            continue  # the message alone is longer than the context
        hits.append(min(range(len(nats)), key=nats.__getitem__) == 0)
        progress(1)
    return percent_row(
        "Fit",
        "hits_at_1",
        f"Hits@1 of {CANDIDATES}",
        hits,
        seed=seed,
        better="higher",
        definition=(
            f"The real reply is the likeliest of {CANDIDATES} (mean nats a token, its end included); the others are "
            f"drawn from the data's other replies by the seed. Chance: {100 / CANDIDATES:.0f}%."
        ),
        source=CONVAI2,
    )


def f1_rows(answers: Mapping[str, Sequence[Answer]], gold: Sequence[str], seed: int) -> list[Row]:
    """Rows of the words that the model's replies (mode -> replies) have in common with the people's, gold."""
    return [
        percent_row(
            "Fit",
            f"f1_{mode}",
            f"F1 with the real reply, {mode}",
            [metrics.f1(answer.text, text) for answer, text in zip(replies, gold, strict=True)],
            seed=seed,
            better="higher",
            definition=f"Words in common with the real reply, {mode}, normalised as ConvAI2 does.",
            source=CONVAI2,
        )
        for mode, replies in answers.items()
    ]
