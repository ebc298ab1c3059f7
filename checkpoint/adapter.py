"""
LoRA adapters as peft saves them: adapter_config.json and adapter_model.safetensors, merged into the model that they
were trained on (Hu et al. 2021).
"""

import functools
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from checkpoint.pretrained import (
    EMBEDDING,
    HEAD,
    TRANSPOSED_WEIGHTS,
    Weights,
    check_finite,
    stored,
    stored_tensors,
    tie_head,
)
from model import GPTConfig
from runtime import hub
from runtime.errors import InputError
from runtime.json_file import read_json

# how peft names a tensor: its wrapping, the layer, the matrix, and perhaps the adapter's name
TENSOR_NAME = re.compile(
    r"^(?:base_model\.model\.)?(?:transformer\.)?(?P<layer>.+?)\.(?P<kind>lora_A|lora_B|weight|bias)"
    r"(?:\.default)?(?P<end>\.weight)?$"
)
# settings of peft that change what the two matrices mean
UNREAD = ("use_dora", "lora_bias", "alora_invocation_tokens", "layer_replication", "use_qalora", "use_bdlora")
CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")  # init_lora_weights that rewrite the base model


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, with or without the model that it belongs to."""
    return (folder / "adapter_config.json").is_file()


def base_of(folder: Path) -> Path:
    """
    The folder of the model that an adapter belongs to: its own if that has a config.json, else the one that it names,
    downloaded if need be. Raises InputError if there is none.
    """
    if (folder / "config.json").exists():
        return folder
    name = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise InputError(f"{folder} is a LoRA adapter that names no base model (base_model_name_or_path)")
    places = [Path(name), folder / name, folder.parent / name, folder.parent / Path(name).name]
    found = [place for place in places if (place / "config.json").is_file() and place.resolve() != folder.resolve()]
    if not found and not hub.is_hub_name(name):
        raise InputError(
            f"{folder} is a LoRA adapter of {name}, which is not a model folder here; put that beside it, or set "
            f"base_model_name_or_path in {folder / 'adapter_config.json'}"
        )
    try:
        base = found[0] if found else hub.local_folder(name)
    except InputError as error:
        raise InputError(f"{folder} is a LoRA adapter of another model: {error}") from None
    if is_adapter(base):
        raise InputError(f"{folder} is a LoRA adapter of {name}, which is one as well; merge that one first")
    return base


def merged(folder: Path, weights: Weights, config: GPTConfig) -> Weights:
    """
    The weights of a model with the adapter in `folder` added: W + scale B A for each layer that it has matrices for,
    and what it trained whole in place of the model's own. Raises InputError, which names what cannot be read.
    """
    settings = read_json(folder / "adapter_config.json")
    if settings.get("peft_type") != "LORA":
        raise InputError(f"{folder} is an adapter of the kind {settings.get('peft_type')!r}; LoRA alone can be merged")
    unread = [name for name in UNREAD if settings.get(name)]
    if unread or str(settings.get("init_lora_weights")).lower().startswith(CHANGES_BASE):
        kind = unread[0] if unread else f"init_lora_weights = {settings['init_lora_weights']}"
        raise InputError(f"{folder} was trained with {kind}, which cannot be merged here; merge it with peft")
    pairs: dict[str, dict[str, Any]] = {}  # name of a weight -> {"lora_A": ..., "lora_B": ...}
    whole: dict[str, Any] = {}
    for name, tensor in adapter_tensors(folder).items():
        match = TENSOR_NAME.match(re.sub(r"\.(modules_to_save(\.default)?|base_layer)(?=\.)", "", name))
        layer, kind = (match["layer"], match["kind"]) if match else ("", "")
        if kind.startswith("lora") and f"transformer.{layer}.weight" in weights and layer not in ("wte", "wpe"):
            pairs.setdefault(f"transformer.{layer}.weight", {})[kind] = tensor
        elif kind in ("weight", "bias") and f"transformer.{layer}.{kind}" in (*weights, HEAD):
            whole[f"transformer.{layer}.{kind}"] = tensor
        else:
            raise InputError(f"{folder}: {name} cannot be merged into a GPT-2, whose head and embedding are one")
    new = {**weights, **replaced(folder, weights, whole, config)}
    for name, pair in pairs.items():
        new[name] = functools.partial(with_low_rank, new[name], pair, scale(settings, name, pair, folder), folder, name)
    return new


def adapter_tensors(folder: Path) -> Mapping[str, Any]:
    """Name -> tensor of an adapter's file. Raises InputError if there is none."""
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        if (folder / name).exists():
            return stored_tensors(folder / name)
    raise InputError(f"{folder} has an adapter_config.json, but no adapter_model.safetensors")


def replaced(folder: Path, weights: Weights, whole: dict[str, Any], config: GPTConfig) -> Weights:
    """
    The weights that the adapter has whole, in our layout. More rows of the embedding than the model's are new tokens:
    config.vocab_size becomes their number.
    """
    if EMBEDDING in whole or HEAD in whole:
        state = {EMBEDDING: weights[EMBEDDING](), HEAD: weights[EMBEDDING](), **whole}
        tie_head(state, folder)
        config.vocab_size = len(stored(state[EMBEDDING]))
        whole = {name: tensor for name, tensor in whole.items() if name not in (EMBEDDING, HEAD)}
        whole[EMBEDDING] = state[EMBEDDING]
    new: Weights = {}
    for name, tensor in whole.items():
        is_transposed = name.endswith(TRANSPOSED_WEIGHTS)
        wanted, given = weights[name]().shape, tensor.shape[::-1] if is_transposed else tensor.shape
        if given[name == EMBEDDING :] != wanted[name == EMBEDDING :]:
            raise InputError(f"{folder}: {name} is {tuple(given)}, its base model has {tuple(wanted)}")
        new[name] = functools.partial(finite, tensor, is_transposed, f"{folder}: {name}")
    return new


def finite(tensor: Any, is_transposed: bool, name: str) -> Tensor:
    """The tensor in float32, in our layout. Raises InputError if it holds NaN or infinity."""
    value = stored(tensor).t() if is_transposed else stored(tensor)
    check_finite(value, name)
    return value


def scale(settings: Mapping[str, Any], name: str, pair: Mapping[str, Any], folder: Path) -> float:
    """What B A is multiplied by: alpha / r, or alpha / sqrt(r) with rslora (Kalajdzievski 2023)."""
    layer = name.removesuffix(".weight")
    alpha, special = settings.get("lora_alpha", 8), settings.get("alpha_pattern")  # 8: peft's default
    try:
        matching = [a for key, a in dict(special or {}).items() if re.match(rf"(.*\.)?({key})$", layer)]
    except (re.error, TypeError, ValueError):
        raise InputError(f"{folder}: alpha_pattern ({special!r}) has no numbers by the names of layers") from None
    alpha = matching[0] if matching else alpha
    if set(pair) != {"lora_A", "lora_B"} or not isinstance(alpha, int | float):
        raise InputError(f"{folder}: {name} lacks one of its two matrices, or lora_alpha ({alpha!r}) is no number")
    rank = math.prod(pair["lora_A"].shape[:1])
    if not rank:
        raise InputError(f"{folder}: the matrices of {name} are empty")
    return alpha / math.sqrt(rank) if settings.get("use_rslora") else alpha / rank


def with_low_rank(
    weight: Callable[[], Tensor], pair: Mapping[str, Any], factor: float, folder: Path, name: str
) -> Tensor:
    """The weight (out, in) plus factor times B (out, r) A (r, in). Raises InputError if the shapes do not fit."""
    base, a, b = weight(), stored(pair["lora_A"]), stored(pair["lora_B"])
    if a.dim() != 2 or b.dim() != 2 or (b.shape[0], a.shape[1]) != base.shape or a.shape[0] != b.shape[1]:
        raise InputError(f"{folder}: the matrices of {name} are {tuple(b.shape)} and {tuple(a.shape)}, not its own")
    low_rank = factor * (b @ a)
    check_finite(low_rank, f"{folder}: {name}")
    return torch.add(base, low_rank)
