"""
A model as another engine has opened it, beside the same model here: the likeliest next tokens, the replies, the size
and the speed.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch

from checkpoint import model_folder
from model import KVCache
from tokenization.chat_format import Message
from tokenization.chat_template import PlainText, template_for

# what is asked: short and long, with a persona, with names, with a turn that looks like a tag
CONVERSATIONS: list[list[Message]] = [
    [{"role": "user", "content": "hi there"}],
    [{"role": "system", "content": "My name is Rosa. I am a nurse."}, {"role": "user", "content": "what do you do?"}],
    [
        {"role": "user", "content": "i have a dog called Biscuit"},
        {"role": "assistant", "content": "how sweet! how old is Biscuit?"},
        {"role": "user", "content": "he is four. what is my dog called?"},
    ],
    [
        {"role": "user", "name": "Ann", "content": "we went to the sea today"},
        {"role": "user", "name": "Bob", "content": "and it rained all the time!"},
    ],
    [{"role": "user", "content": "[Bot]: yes.\nwhy do people write [Human]: before what they say? naïve, no? 🐆"}],
]
NEW_TOKENS = 60  # of a reply, at most


class Exported(Protocol):
    """A model that an engine has opened."""

    label: str  # the engine, with its version, and how it keeps the weights

    def logits(self, ids: list[int]) -> np.ndarray:
        """(T, n_vocab) float32: after each of the ids, how likely each id is to follow."""
        ...

    def greedy(self, ids: list[int], n: int) -> list[int]:
        """The likeliest ids that follow, `n` at most, up to the one by which this engine knows that a reply ends."""
        ...


class Ours:
    """The model folder itself, in float32."""

    def __init__(self, folder: str | Path) -> None:
        self.model, tokenizer, chat = model_folder.load(folder)
        self.template = template_for(model_folder.speech_folder(folder), tokenizer, chat)
        is_chat = not isinstance(self.template, PlainText)  # of a raw GPT-2 a newline ends what is here a reply
        self.stop_token_ids = self.template.stop_token_ids if is_chat else self.template.document_stop_ids
        self.label = "nanoChatGPT, float32"

    @torch.inference_mode()
    def logits(self, ids: list[int]) -> np.ndarray:
        return self.model(torch.tensor([ids]))[0, :, : self.template.n_vocab].float().numpy()

    @torch.inference_mode()
    def greedy(self, ids: list[int], n: int) -> list[int]:
        cache = KVCache(self.model.config)
        reply: list[int] = []
        new = ids
        while len(reply) < n:
            logits = self.model(torch.tensor([new]), cache=cache, last_only=True)[0, -1, : self.template.n_vocab]
            token = int(logits.argmax())
            if token in self.stop_token_ids:
                break
            reply.append(token)
            new = [token]
        return reply


class Figures(NamedTuple):
    """An engine on CONVERSATIONS."""

    label: str
    difference: float | None  # between its logits and ours, the largest of all; None of ours
    same: int  # replies that are ours to the token
    leads: list[float]  # of the others: by how much our token led its own, where they part; in logits
    megabytes: float
    tokens_per_s: float  # of replies, prompts included


def compare(
    folder: str | Path,
    open_engine: Callable[[Path, int], Exported],
    path: Path,
    threads: int | None = None,
    conversations: Sequence[list[Message]] = CONVERSATIONS,
    new_tokens: int = NEW_TOKENS,
) -> list[Figures]:
    """The Figures of the model in `folder`, and of what stands at `path`, opened by `open_engine(path, threads)`."""
    threads = threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    ours = Ours(folder)
    theirs = open_engine(path, threads)
    block_size = ours.model.config.block_size
    n = min(new_tokens, block_size // 2)
    prompts = [ours.template.prompt(messages)[-(block_size - n) :] for messages in conversations]
    replies, speed = timed_replies(ours, prompts, n)
    their_replies, their_speed = timed_replies(theirs, prompts, n)
    difference, leads = 0.0, []
    for prompt, reply, their_reply in zip(prompts, replies, their_replies, strict=True):
        ids = prompt + reply[: n - 1]
        logits, their_logits = ours.logits(ids), theirs.logits(ids)
        difference = max(difference, float(np.abs(logits - their_logits[:, : logits.shape[1]]).max()))
        if reply != their_reply:
            leads.append(lead(ours, prompt, reply, their_reply))
    size = sum(p.nbytes for p in ours.model.parameters()) / 1e6
    return [
        Figures(ours.label, None, len(prompts), [], size, speed),
        Figures(theirs.label, difference, len(prompts) - len(leads), leads, megabytes(path), their_speed),
    ]


def timed_replies(engine: Exported, prompts: list[list[int]], n: int) -> tuple[list[list[int]], float]:
    """(a reply to each prompt, tokens of replies a second, each reply's end counted as one); the first warms up."""
    engine.greedy(prompts[0], n)
    start = time.perf_counter()
    replies = [engine.greedy(prompt, n) for prompt in prompts]
    seconds = time.perf_counter() - start
    return replies, sum(min(len(reply) + 1, n) for reply in replies) / seconds


def lead(ours: Ours, prompt: list[int], reply: list[int], their_reply: list[int]) -> float:
    """By how much our logit of our token is above that of theirs, at the first place where two replies differ."""
    place = next(
        (i for i, (a, b) in enumerate(zip(reply, their_reply, strict=False)) if a != b),
        min(len(reply), len(their_reply)),
    )
    logits = ours.logits(prompt + reply[:place])[-1]
    end = max(ours.stop_token_ids, key=lambda token: logits[token])
    our_token, their_token = (each[place] if place < len(each) else end for each in (reply, their_reply))
    return float(logits[our_token] - logits[their_token])


def megabytes(path: Path) -> float:
    """MB of a file, or of all the files in a folder."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / 1e6


def table(figures: Sequence[Figures]) -> str:
    """The Figures as lines of text, and a sentence on replies that differ."""
    rows = [("engine", "largest logit difference", "same greedy text", "MB", "tokens/s")]
    for each in figures:
        n = each.same + len(each.leads)
        difference = "-" if each.difference is None else f"{each.difference:.4f}"
        rows.append(
            (each.label, difference, f"{each.same} of {n}", f"{each.megabytes:.1f}", f"{each.tokens_per_s:,.0f}")
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    for each in figures:
        if each.leads:
            leads = ", ".join(f"{lead:.3f}" for lead in sorted(each.leads))
            lines.append(f"{each.label}: where a reply parts from ours, our token's logit leads by {leads}")
    return "\n".join(lines)
