"""How well a model predicts what people said."""

import collections
import math
import random

import numpy as np

from evaluation import likelihood, metrics, report
from evaluation.report import Row
from runtime.errors import InputError

CANDIDATES = 20


def fit_rows(model, template, conversations, seed, bar):
    """Rows of loss, perplexity and bits per byte over the bot's replies in the data."""
    scored = likelihood.replies(model, template, conversations, bar.update)
    if not scored:
        raise InputError(f"no reply of the data fits in a context of {model.config.block_size} tokens")
    sums = collections.defaultdict(lambda: np.zeros(6))
    for reply in scored:
        n_words = len(convai2_words(reply.text))
        sums[reply.conversation] += (
            reply.words_nats, reply.end_nats, reply.n_tokens, 1, n_words, len(reply.text.encode())
        )  # fmt: skip
    words, end, tokens, replies, n_words, n_bytes = np.array([*sums.values()]).T
    n = len(scored)

    def row(name, label, nats, units, transform, unit, definition, source=""):
        low, high = (transform(bound) for bound in metrics.interval(nats, units, seed=seed))
        value = transform(nats.sum() / units.sum())
        more = {"better": "lower", "definition": definition, "source": source}
        return Row("Fit", name, label, value, low, high, n, unit, **more)

    return [
        row("loss", "loss", words + end, tokens + replies, float, "nats",
            "Mean negative log-likelihood of a supervised token: the bot's words and the end of its turn."),
        row("perplexity", "perplexity", words + end, tokens + replies, perplexity_of, "",
            "exp(loss): comparable between models of one tokenizer only."),
        row("bits_per_byte", "bits per byte", words / math.log(2), n_bytes, float, "bits",
            "Bits to say the bot's words, over their UTF-8 bytes: comparable across tokenizers."),
        row("word_perplexity", "perplexity per word", words, n_words, perplexity_of, "",
            "exp(nats of the bot's words / words and marks), no word left out.", "ConvAI2 (Dinan et al. 2019)"),
    ]  # fmt: skip


def perplexity_of(nats):
    return math.exp(min(nats, 700.0))


def convai2_words(text):
    """The words and marks that ConvAI2's perplexity is counted over: its marks stand apart."""
    for mark in ".,!?;:":
        text = text.replace(mark, f" {mark} ")
    return text.split()


def hits_at_1(model, template, found, conversations, seed, bar):
    """The Row of Hits@1: is the real reply likelier than 19 from other conversations?"""
    rng = random.Random(f"{seed}/candidates")
    pool = sorted({m["content"] for messages in conversations for m in messages if m["role"] == "assistant"})
    flags = []
    for messages, gold in found:
        others = [text for text in rng.sample(pool, min(len(pool), CANDIDATES)) if text != gold][: CANDIDATES - 1]
        try:
            nats = likelihood.candidate_nats(model, template, messages, [gold, *others])
        except InputError:
            continue  # the message alone is longer than the context
        flags.append(min(range(len(nats)), key=nats.__getitem__) == 0)
        bar.update(1)
    definition = (
        f"The real reply is the likeliest of {CANDIDATES} (mean nats a token, its end included); the others are drawn "
        f"from the data's other replies by the seed. Chance: {100 / CANDIDATES:.0f}%."
    )
    source = "ConvAI2 (Dinan et al. 2019)"
    return report.percent(
        "Fit",
        "hits_at_1",
        f"Hits@1 of {CANDIDATES}",
        flags,
        seed,
        better="higher",
        definition=definition,
        source=source,
    )


def overlap_with_gold(answers, gold, seed):
    """Rows of F1 between the replies and the real ones."""
    return [
        report.percent("Fit", f"f1_{mode}", f"F1 with the real reply, {mode}",
            [metrics.f1(answer.text, text) for answer, text in zip(found, gold, strict=True)], seed, better="higher",
            definition=f"Words in common with the real reply, {mode}, normalised as ConvAI2 does.",
            source="ConvAI2 (Dinan et al. 2019)")
        for mode, found in answers.items()
    ]  # fmt: skip
