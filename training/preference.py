"""
Training by preference, DPO (Rafailov et al. 2023): of two answers to the same talk the better one shall gain more over
what the model gave it at the start than the worse one does.

    loaders = pair_loaders(config, tokenizer, block_size, device, say)
    add_reference(loaders, model, batch_size, device)        # once, before the first step
    loss = dpo_loss(answer_log_probabilities(model, **batch), reference, beta=0.1)
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from dataset.loader import Loader
from dataset.pairs import open_pairs
from model import GPT
from ops.cross_entropy import MAX_LOGITS
from runtime.device import Device
from runtime.errors import InputError
from tokenization.tokenizer import Tokenizer
from training.parallel import sum_ranks
from training.resume import fingerprint
from training.settings import TrainConfig


def dpo_loss(log_probabilities: Tensor, reference: Tensor, beta: float) -> Tensor:
    """
    The mean over pairs, a scalar, of -log sigmoid(beta * (what the better answer gained - what the worse one did)).
    log_probabilities, reference: (pairs, 2) nats, of the better answer and the worse one, now and at the start.
    """
    gained = log_probabilities - reference
    return -F.logsigmoid(beta * (gained[:, 0] - gained[:, 1])).mean()


def answer_log_probabilities(
    model: GPT, idx: Tensor, targets: Tensor, positions: Tensor, cu_seqlens: Tensor, learned: Tensor
) -> Tensor:
    """
    log p, in nats, of the learned tokens of each conversation in a packed batch of pairs: (pairs, 2) float32. The
    arguments are those of GPT.loss.
    """
    x = model.hidden_states(idx, positions, cu_seqlens)[0].index_select(0, learned)
    wanted = targets.flatten()[learned]

    def log_probabilities(x: Tensor, wanted: Tensor) -> Tensor:
        return -F.cross_entropy(model.head(x).float(), wanted, reduction="none")

    # the logits of a piece are computed again in backward, so that those of one piece are all that is ever kept
    n_tokens = max(1, MAX_LOGITS // model.config.n_rows)
    pieces = zip(x.split(n_tokens), wanted.split(n_tokens), strict=True)
    by_token = torch.cat(
        [checkpoint(log_probabilities, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
    )
    conversation = torch.searchsorted(cu_seqlens.long(), learned, right=True) - 1
    sums = by_token.new_zeros(len(cu_seqlens) - 1).index_add(0, conversation, by_token)
    n_pairs = len(sums) // 2  # where there is padding, it is one more conversation
    return sums[: 2 * n_pairs].view(n_pairs, 2)


def pair_loaders(
    config: TrainConfig,
    tokenizer: Tokenizer,
    block_size: int,
    device: Device,
    say: Callable[[str], None],
    rows_drawn: int = 0,
) -> dict[str, Loader]:
    """
    "train" and "val" -> a Loader of the data's pairs; {} if there is none for train. Where val has none, those of train
    stand in for them. rows_drawn: of train, by the run that is resumed.
    """
    loaders: dict[str, Loader] = {}
    for split in ("train", "val"):
        pairs, n_too_long = open_pairs(config.data_dir, split, tokenizer, block_size)
        if n_too_long:
            say(f"{n_too_long:,} pairs of {split} are left out: an answer and its question exceed the context")
        if len(pairs.starts) > 1:
            seed, drawn = (config.seed, rows_drawn) if split == "train" else (0, 0)
            ranks = device.rank, device.world_size
            loaders[split] = Loader(pairs, block_size, tokenizer, seed, *ranks, drawn, group=2)
    if "train" not in loaders:
        say(f"{config.data_dir} has no pairs of a better and a worse answer: it is learned without preference")
        return {}
    loaders.setdefault("val", loaders["train"])
    return loaders


@torch.no_grad()
def add_reference(
    loaders: dict[str, Loader], model: GPT, batch_size: int, device: Device, saved: dict[str, Any] | None = None
) -> None:
    """
    Give each Loader the log-probabilities that the model has at the start, by which all later ones are judged. saved:
    what saved_reference gave to the run that is resumed; if that was of other pairs, InputError.
    """
    if saved is not None and (saved or loaders) and saved.get("pairs") != fingerprint_of(loaders):
        raise InputError(
            "the pairs of the data have changed since the run began, and with them what they are judged by: begin "
            "another one from its model, --init_from=OUT_DIR --out_dir=OTHER"
        )
    for split, loader in loaders.items():
        if saved:
            loader.reference = saved[split].numpy()
        elif loader.reference is None:  # train's may stand in for val's
            loader.reference = log_probabilities_of_all(loader, model, batch_size, device)


def saved_reference(loaders: dict[str, Loader]) -> dict[str, Any]:
    """What add_reference found, and of which pairs, for trainer.pt."""
    if not loaders:
        return {}
    found = {split: torch.from_numpy(loader.reference) for split, loader in loaders.items()}
    return {**found, "pairs": fingerprint_of(loaders)}


def fingerprint_of(loaders: dict[str, Loader]) -> int:
    return fingerprint(loader.split for loader in loaders.values())


def log_probabilities_of_all(loader: Loader, model: GPT, batch_size: int, device: Device) -> np.ndarray:
    """answer_log_probabilities (pairs, 2) of all pairs in their order; each rank computes its part."""
    by_pair = torch.zeros(len(loader.segments) // 2, 2)
    rows = list(loader.epoch_rows(0))[device.rank :: device.world_size]
    n = max(1, batch_size // loader.group)
    was_training = model.training
    model.eval()
    for group in (rows[i : i + n] for i in range(0, len(rows), n)):
        with device.autocast():
            found = answer_log_probabilities(model, **device.tensors(loader.batch(group).arrays))
        by_pair[[pair for row in group for pair in row]] = found.float().cpu()
    model.train(was_training)
    return sum_ranks(by_pair, device).numpy()


@torch.no_grad()
def measured(
    loader: Loader, model: GPT, batch_size: int, n_batches: int, beta: float, device: Device
) -> tuple[float, float]:
    """
    (loss, share of pairs whose better answer has gained more over the start than the worse one) of the first n batches
    of each rank.
    """
    was_training = model.training
    model.eval()
    total = torch.zeros(3, dtype=torch.float64)
    for batch in itertools.islice(loader.epoch(batch_size), n_batches):
        tensors = device.tensors(batch.arrays)
        reference = tensors.pop("reference")
        with device.autocast():
            found = answer_log_probabilities(model, **tensors)
        gained = found - reference
        n_right, loss = (gained[:, 0] > gained[:, 1]).sum().item(), dpo_loss(found, reference, beta).item()
        total += torch.tensor([len(reference), loss * len(reference), n_right], dtype=torch.float64)
    model.train(was_training)
    n, loss, n_right = sum_ranks(total, device).tolist()
    return loss / n, n_right / n
