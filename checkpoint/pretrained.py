"""
Weights that others saved: Hugging Face's GPT-2 folders. nanogpt.py has nanoGPT's ckpt.pt, adapter.py LoRA adapters. No
pickle is ever executed.
"""

import math
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from checkpoint import not_a_model
from model import ACTIVATIONS, GPT, GPTConfig
from runtime.errors import InputError
from runtime.json_file import read_json

Weights = dict[str, Callable[[], Tensor]]  # name -> a function that gives the tensor, float32, in our layout

# what torch.load raises for a file that is damaged, or would need code
UNREADABLE = (pickle.UnpicklingError, zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, LookupError)
UNREADABLE += (TypeError, AttributeError)  # the parts of a pickled tensor do not fit each other
# what DataParallel, torch.compile and GPT2LMHeadModel put before the names
PREFIXES = re.compile(r"^(module\.|_orig_mod\.)*(transformer\.)?")
HEAD_TOLERANCE = 1e-6  # by which a head may differ from the embedding, once both were rounded
HEAD, EMBEDDING, POSITIONS = "transformer.lm_head.weight", "transformer.wte.weight", "transformer.wpe.weight"
# transformers' further names for some of ACTIVATIONS
TANH_GELUS = ("gelu_pytorch_tanh", "gelu_fast", "gelu_accurate", "gelu_python_tanh")
SYNONYMS: dict[str, str] = {**dict.fromkeys(TANH_GELUS, "gelu_new"), "gelu_python": "gelu", "swish": "silu"}
# config.json: nanoGPT's and OpenAI's names, others that transformers takes for them, and its defaults
SHAPE_NAMES: dict[str, tuple[tuple[str, ...], int]] = {
    "block_size": (("n_positions", "max_position_embeddings", "n_ctx"), 1024),
    "vocab_size": (("vocab_size",), 50257),
    "n_layer": (("n_layer", "num_hidden_layers"), 12),
    "n_head": (("n_head", "num_attention_heads"), 12),
    "n_embd": (("n_embd", "hidden_size"), 768),
}
# GPT-2 keeps these as Conv1D does, (n_in, n_out)
TRANSPOSED_WEIGHTS = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def load_tensors(path: Path, mmap: bool = False) -> dict[str, Any]:
    """
    The dict in a file of torch.save; no code is run. mmap: its tensors stay on the disk until they are used. Raises
    InputError if broken, or if it would need code.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        if not isinstance(content, dict):
            raise ValueError("not a dict")
        return content
    except UNREADABLE as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "broken file"
        reason = not_a_model.pointer(path) or f"refused, it holds more than tensors or is damaged ({reason[:120]})"
        raise InputError(f"{path}: {reason}") from None


def read_huggingface(folder: Path) -> tuple[Weights, GPTConfig]:
    """(weights, shape) of a Hugging Face GPT-2 folder. Raises InputError if it is damaged, or not a GPT-2's."""
    files = weight_files(folder)
    if not (folder / "config.json").exists() or not files:
        raise not_a_model.error(folder)
    content = read_json(folder / "config.json")
    config = gpt_config_from_json(content, folder)
    state = {name: tensor for file in files for name, tensor in stored_tensors(folder / file).items()}
    state = {"transformer." + PREFIXES.sub("", str(name)): p for name, p in state.items()}
    tie_head(state, folder, is_tied=content.get("tie_word_embeddings") is not False)
    return check_weights(state, config, folder, TRANSPOSED_WEIGHTS), config


def weight_files(folder: Path) -> list[str]:
    """The names of the files that hold a folder's weights; [] if there are none. Raises InputError."""
    # the whole file before an index: what we write into a folder of shards counts
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).exists():
            return [name]
        index = folder / f"{name}.index.json"
        if index.exists():
            shards = read_json(index).get("weight_map")
            if not isinstance(shards, dict) or not all(isinstance(file, str) for file in shards.values()):
                raise InputError(f"{index}: it has no weight_map from names to files; the file is damaged")
            return sorted(set(shards.values()))
    return []


def stored_tensors(path: Path) -> Mapping[str, Any]:
    """Name -> Tensor or StoredTensor of a file of weights. Raises InputError if it is damaged."""
    if path.suffix != ".safetensors":
        return {str(name): p for name, p in load_tensors(path).items() if isinstance(p, Tensor)}
    try:
        with safe_open(path, framework="pt") as tensors:
            shapes = {name: torch.Size(tensors.get_slice(name).get_shape()) for name in tensors.keys()}
            return {name: StoredTensor(shape, partial(safe_tensor, path, name)) for name, shape in shapes.items()}
    except (SafetensorError, OSError) as error:
        reason = not_a_model.pointer(path) or f"not a whole safetensors file ({error})"
        raise InputError(f"{path}: {reason}") from None


class StoredTensor(NamedTuple):
    """A tensor that stays on the disk until it is read."""

    shape: torch.Size
    read: Callable[[], Tensor]


def safe_tensor(path: Path, name: str) -> Tensor:
    """
    A tensor of a safetensors file, which is opened anew for each: a file that stays open keeps all that was read of it
    in memory.
    """
    with safe_open(path, framework="pt") as tensors:
        return tensors.get_tensor(name)


def gpt_config_from_json(content: Mapping[str, Any], path: Path) -> GPTConfig:
    """The shape in the dict of a config.json. Raises InputError, which names the path, for what is not a GPT-2."""
    if content.get("quantization_config"):
        raise InputError(f"{path}: its weights are quantized (quantization_config); a GPT-2 in 16 or 32 bits is needed")
    plain = {
        "model_type": ["gpt2"],
        "layer_norm_epsilon": [1e-5],
        "scale_attn_weights": [True],
        "scale_attn_by_inverse_layer_idx": [False],
    }
    for name, values in plain.items():
        if content.get(name, values[0]) not in values:
            raise InputError(f"{path}: {name} is {content[name]!r}, a GPT-2 has {values[0]!r}")
    function = content.get("activation_function", "gelu_new")
    activation = SYNONYMS.get(str(function), function)
    if activation not in list(ACTIVATIONS):
        raise InputError(f"{path}: activation_function is {function!r}; those known are {', '.join(ACTIVATIONS)}")
    numbers = {}
    for name, (spellings, usual) in SHAPE_NAMES.items():
        numbers[name] = next((content[spelling] for spelling in spellings if spelling in content), usual)
    try:
        n_inner = content.get("n_inner")
        numbers["n_inner"] = 4 * numbers["n_embd"] if n_inner is None else n_inner
        if not all(type(number) is int and number > 0 for number in numbers.values()):
            raise ValueError(f"context, vocabulary, layers, heads, width, n_inner are {tuple(numbers.values())}")
        return GPTConfig(**numbers, activation=activation)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: config.json is not a GPT-2's ({error})") from None


def parameter_shapes(config: GPTConfig) -> dict[str, torch.Size]:
    """Name -> shape of every parameter; the embedding without rows that stand for no token."""
    with torch.device("meta"):
        wanted = {name: p.shape for name, p in GPT(config).named_parameters()}
    wanted["transformer.wte.weight"] = torch.Size((config.vocab_size, config.n_embd))
    return wanted


def tie_head(state: dict[str, Any], path: Path, is_tied: bool = True) -> None:
    """
    Leave one tensor in `state`, changed in place, for embedding and head, which GPT-2 shares. is_tied: what the config
    says. Raises InputError, which names the path, for a head of its own.
    """
    head, embedding = state.pop(HEAD, None), state.get(EMBEDDING)
    if head is not None and embedding is None and is_tied:
        state[EMBEDDING] = head  # safetensors' save_model keeps one of the two names
    elif head is None and not is_tied:
        raise InputError(f"{path}: tie_word_embeddings is False and the weights have no lm_head; not a whole GPT-2")
    elif head is not None and embedding is not None and head is not embedding:
        a, b = stored(head), stored(embedding)
        if a.shape != b.shape or float((a - b).abs().max()) > HEAD_TOLERANCE:
            raise InputError(
                f"{path}: its output head (lm_head) is not its embedding (wte), as with tie_word_embeddings = False; "
                f"a GPT-2 has one matrix for both"
            )


def stored(value: Any) -> Tensor:
    """A Tensor, or what a StoredTensor holds, in float32."""
    return (value.read() if isinstance(value, StoredTensor) else value).float()


def check_size(state: Mapping[str, Any], config: GPTConfig, path: Path) -> None:
    """Raise InputError where the largest shapes are not the config's, before a model of that size is built."""
    wanted = {EMBEDDING: (config.vocab_size, config.n_embd), POSITIONS: (config.block_size, config.n_embd)}
    for name, shape in wanted.items():
        if name in state and tuple(state[name].shape) != shape:
            raise InputError(f"{path}: {name} is {tuple(state[name].shape)}, its config says {shape}")
    last = f"transformer.h.{config.n_layer - 1}.ln_1.weight"
    if last not in state:
        raise InputError(f"{path}: the weights lack {last}; not a whole GPT-2")


def check_weights(state: Mapping[str, Any], config: GPTConfig, path: Path, transposed: tuple[str, ...] = ()) -> Weights:
    """
    The weights of a GPT of this shape, out of `state`: name -> tensor, or StoredTensor. transposed: the ends of the
    names whose tensors are (n_in, n_out). Raises InputError, which names the path, if one is missing or of another
    shape.
    """
    check_size(state, config, path)
    shapes = parameter_shapes(config)
    missing = sorted(name for name in shapes if not isinstance(state.get(name), Tensor | StoredTensor))
    if missing:
        raise InputError(f"{path}: the weights lack {missing[0]} (and {len(missing) - 1} more); not a whole GPT-2")
    for name, shape in shapes.items():
        given = state[name].shape[::-1] if name.endswith(transposed) else state[name].shape
        if given != shape:
            raise InputError(f"{path}: {name} is {tuple(given)}, its config says {tuple(shape)}")

    def tensor(name: str) -> Tensor:
        value = state[name].read() if isinstance(state[name], StoredTensor) else state[name]
        if not value.is_floating_point():
            raise InputError(f"{path}: {name} is stored as {value.dtype}; a GPT-2 in 16 or 32 bits is needed")
        value = (value.t() if name.endswith(transposed) else value).float()
        check_finite(value, f"{path}: {name}")
        return value

    return {name: partial(tensor, name) for name in shapes}


def check_finite(tensor: Tensor, name: str) -> None:
    """Raise InputError if any number is NaN or infinite."""
    if tensor.numel() and not all(map(math.isfinite, torch.stack(tensor.aminmax()).tolist())):
        raise InputError(f"{name} holds numbers that are NaN or infinite; the model is damaged, take an earlier one")
