"""
A larger model that computes what a small one does, and goes on from there (Net2Net, Chen et al. 2016): a small model
learns to copy in minutes, a large one had not learned it in many times as long (NOTES.md).

    model = grow(with_new_vocabulary(small, 4096), n_embd=384, n_layer=8)

What carries over to another vocabulary is how tokens are told apart and copied, not the tokens: the rows of the new
embedding are drawn from the normal distribution that the small one's rows have. (Rows as random as at a usual start
would mean nothing to the blocks.)
"""

import dataclasses

import torch
from torch import Tensor

from model import GPT
from runtime.errors import InputError

CALMER = 0.2  # sure of the old tokens, it would be sure and wrong with new ones, and soon unlearn what it can do
NOISE = 0.005  # std of what is added to each weight, so that copies do not stay copies; GPT-2 starts with 0.02


@torch.no_grad()
def grow(small: GPT, n_embd: int, n_layer: int, noise: float = NOISE) -> GPT:
    """
    A GPT as wide and deep as said, with the small one's function but for the noise. Its residual stream is the small
    one's several times over, with copies of each head, whose size stays; further blocks stand on top and do nothing at
    first. Raises InputError if n_embd is no multiple of the small one's, or n_layer is less.
    """
    old = small.config
    times, rest = divmod(n_embd, old.n_embd)
    if rest or n_layer < old.n_layer or not times:
        raise InputError(
            f"a model of {old.n_layer} layers x {old.n_embd} cannot grow to {n_layer} x {n_embd}: "
            f"n_embd must be a multiple of {old.n_embd}, and n_layer at least {old.n_layer}"
        )
    large = GPT(dataclasses.replace(old, n_embd=n_embd, n_layer=n_layer, n_head=old.n_head * times))
    theirs = dict(small.named_parameters())
    for name, p in large.named_parameters():
        if name in theirs:
            p.copy_(widened(name, theirs[name], times))
            if p.dim() == 2:
                p.add_(torch.randn_like(p), alpha=noise)
        elif name.endswith("c_proj.weight"):
            p.zero_()
    large.transformer.wte.weight[old.vocab_size :] = 0
    return large


@torch.no_grad()
def with_new_vocabulary(model: GPT, vocab_size: int) -> GPT:
    """
    The same blocks with an embedding of other tokens, whose rows have the mean and covariance of the model's own. Its
    logits are CALMER times as large.
    """
    renewed = GPT(dataclasses.replace(model.config, vocab_size=vocab_size))
    state = {name: p for name, p in model.state_dict().items() if "wte" not in name}
    renewed.load_state_dict(state, strict=False)
    rows = model.transformer.wte.weight[: model.config.vocab_size]
    covariance = torch.cov(rows.T) + 1e-8 * torch.eye(rows.size(1), device=rows.device)
    spread = torch.linalg.cholesky(covariance)
    drawn = torch.randn(vocab_size, rows.size(1), device=rows.device) @ spread.T
    renewed.transformer.wte.weight[:vocab_size] = rows.mean(dim=0) + drawn
    renewed.transformer.ln_f.weight.mul_(CALMER)
    renewed.transformer.ln_f.bias.mul_(CALMER)
    return renewed


def widened(name: str, p: Tensor, times: int) -> Tensor:
    """
    A parameter for a stream that is repeated `times`. Where it is read, the copies are averaged; the head reads from
    it through ln_f, which is made smaller by as much.
    """
    if name.endswith("c_attn.weight"):  # queries, keys and values, one upon another
        return torch.cat([part.repeat(times, times) for part in p.chunk(3)]) / times
    if name.endswith("c_attn.bias"):
        return torch.cat([part.repeat(times) for part in p.chunk(3)])
    if "wte" in name or "wpe" in name:
        return p.repeat(1, times)
    if p.dim() == 2:
        return p.repeat(times, times) / times
    return p.repeat(times) / times if "ln_f" in name else p.repeat(times)
