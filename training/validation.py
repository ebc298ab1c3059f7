"""How a model does while it is trained: its loss on val, and what it answers."""

import itertools
import statistics
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn as nn

from dataset import copying
from dataset.loader import Batch
from model import GPT
from runtime.device import Device
from tokenization import chat_format
from tokenization.tokenizer import Tokenizer
from training.parallel import max_rank, sum_ranks

QUESTIONS = ("hi, how are you?", "what do you like to do?", "what were we just talking about?")
MAX_REPLY_TOKENS = 24
COPY_DISTANCES = (16, 64, 128, 256)
N_PROBES = 64  # rows for each distance


@torch.no_grad()
def mean_loss(loss_module: nn.Module, batches: Iterable[Batch], n_batches: int, device: Device) -> float:
    """The mean loss over the supervised tokens of the first n batches, on all ranks: the same batches each time."""
    loss_module.eval()
    total = torch.zeros(2, dtype=torch.float64)
    first = list(itertools.islice(batches, n_batches))
    fewest = -int(
        max_rank(-len(first), device)
    )  # ranks compute a sharded model together, so none may have a batch more
    for batch in first[:fewest]:
        with device.autocast():
            loss = loss_module(**device.tensors(batch.arrays))
        total += torch.tensor([loss.item() * batch.n_supervised, batch.n_supervised], dtype=torch.float64)
    loss_module.train()
    total = sum_ranks(total, device)
    return (total[0] / total[1]).item()


class Copying(NamedTuple):
    """How random tokens are foretold when they come back; the first of each span left out, which nothing announces."""

    shares: list[float]  # of each probe's tokens: those that are the likeliest
    gain: float  # nats by which they are likelier than when they first came: it tells also of a quiet habit

    @property
    def share(self) -> float:
        """The mean share."""
        return statistics.fmean(self.shares)


@torch.no_grad()
def copy_accuracy(model: GPT, text: np.ndarray, tokenizer: Tokenizer, device: Device) -> dict[int, Copying]:
    """
    Distance -> the Copying of random tokens that come back `distance` tokens later: whether the model copies from its
    context. text: (n,) ids of real text, which gives the tokens and what stands between them. Distances that the
    context or the text does not hold are left out.
    """
    rng = np.random.default_rng(0)
    tokens = np.setdiff1d(text, list(tokenizer.special.values()))
    accuracies: dict[int, Copying] = {}
    n = copying.SPAN - 1
    was_training = model.training
    model.eval()
    for distance in COPY_DISTANCES:
        if 2 * copying.SPAN + distance <= model.config.block_size and distance < len(text):
            ids = torch.from_numpy(copying.copy_probes(tokens, text, distance, N_PROBES, rng)).to(device.name)
            with device.autocast():
                x = model.hidden_states(ids[:, :-1])
                first, second = (model.head(part).float().log_softmax(dim=-1) for part in (x[:, :n], x[:, -n:]))
            told = ids[:, -n:, None]
            gain = second.gather(-1, told) - first.gather(-1, told)
            shares = (second.argmax(dim=-1, keepdim=True) == told).float().mean(dim=(1, 2))
            accuracies[distance] = Copying(shares.tolist(), gain.mean().item())
    model.train(was_training)
    return accuracies


@torch.no_grad()
def sample_replies(model: GPT, tokenizer: Tokenizer, device: Device) -> list[tuple[str, str]]:
    """(question, what the model now replies to it, greedily) for each of QUESTIONS."""
    model.eval()
    replies = []
    for question in QUESTIONS:
        ids = chat_format.prompt([{"role": "user", "content": question}], tokenizer)[-model.config.block_size :]
        reply: list[int] = []
        while len(reply) < MAX_REPLY_TOKENS and len(ids) + len(reply) < model.config.block_size:
            with device.autocast():
                logits = model(torch.tensor([ids + reply], device=device.name), last_only=True)
            reply.append(int(logits.argmax()))
            if reply[-1] in (tokenizer.end_of_turn, tokenizer.endoftext):
                break
        text = tokenizer.decode([token for token in reply if token != tokenizer.end_of_turn]).replace("\n", " ")
        replies.append((question, text.strip()))
    model.train()
    return replies
