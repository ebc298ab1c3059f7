"""Whether a model copies from its context: what comes before any memory for facts. In the group "Memory"."""

from collections.abc import Sequence

import numpy as np

from evaluation.rows import Row, percent_row
from model import GPT
from runtime.device import Device
from tokenization.chat_format import Message
from tokenization.chat_template import ChatTemplate
from training.validation import copy_accuracy

MAX_TOKENS = 2**17  # of the conversations, which stand between a span and its repetition


def copy_rows(model: GPT, template: ChatTemplate, conversations: Sequence[list[Message]], seed: int) -> list[Row]:
    """A row for each distance that the model's context holds: random tokens are foretold when they come back."""
    ids: list[int] = []
    for messages in conversations:
        ids += template.prompt(messages)
        if len(ids) >= MAX_TOKENS:
            break
    place = model.transformer.wpe.weight.device
    device = Device(place.type, str(place), "float32")
    copied = copy_accuracy(model, np.array(ids[:MAX_TOKENS]), template.tokenizer, device)
    return [
        percent_row(
            "Memory",
            f"copy_at_{distance}",
            f"copies random tokens over {distance}",
            probe.shares,
            seed=seed,
            better="higher",
            definition=f"16 random tokens come back {distance} tokens later: those that the model finds the likeliest.",
            source="dataset/copying.py",
        )
        for distance, probe in copied.items()
    ]
