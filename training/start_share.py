"""
A mean of what a run learned and what it started from, which has learned nearly as much and forgotten far less
(Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
"""

from collections.abc import Mapping

from torch import Tensor

from model import GPT
from training import lora


def start_of(model: GPT) -> dict[str, Tensor]:
    """Name -> a copy, on the CPU, of each parameter that a plain GPT-2 has."""
    return {name: p.detach().cpu().clone() for name, p in lora.merged_parameters(model).items()}


def mean_with_start(parameters: Mapping[str, Tensor], start: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """The parameters, a share of each that of the start."""
    return {name: p.detach().lerp(start[name].to(p), share) for name, p in parameters.items()}
