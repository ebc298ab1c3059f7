"""Weights that others saved: Hugging Face's GPT-2 folders, nanoGPT's ckpt.pt, the hub. No pickle is ever executed."""

import functools
import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from model import GPT, GPTConfig
from runtime.errors import InputError

Weights = dict[str, Callable[[], Tensor]]  # name -> a function that gives the tensor, float32, in our layout

# what torch.load raises for a file that is damaged, or would need code
UNREADABLE = (pickle.UnpicklingError, zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, LookupError)
UNREADABLE += (TypeError, AttributeError)  # the parts of a pickled tensor do not fit each other
HUB_NAMES = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
TRAIN_HINT = "train one: python train.py config/finetune_chat.py"
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
        raise InputError(f"{path}: refused, it holds more than tensors or is damaged ({reason[:120]})") from None


def read_json(path: str | Path) -> dict[str, Any]:
    """The dict in a JSON file. Raises InputError if it is damaged."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); the file is damaged") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object; the file is damaged")
    return content


def read_huggingface(folder: Path) -> tuple[Weights, GPTConfig]:
    """(weights, shape) of a Hugging Face GPT-2 folder. Raises InputError if it is damaged, or not a GPT-2's."""
    if not (folder / "config.json").exists():
        wanted = "a folder with config.json and model.safetensors, or one of " + ", ".join(HUB_NAMES)
        raise InputError(f"{folder} has no model ({wanted}); {TRAIN_HINT}")
    content = read_json(folder / "config.json")
    config = gpt_config_from_json(content, folder)
    index = folder / "model.safetensors.index.json"
    state = {}
    if (folder / "model.safetensors").exists() or index.exists():
        files = ["model.safetensors"]  # before an index: what we write into a folder of shards counts
        if not (folder / "model.safetensors").exists():
            files = sorted(set(read_json(index).get("weight_map", {}).values()))
        for file in files:
            try:
                with safe_open(folder / file, framework="pt") as tensors:
                    shapes = {name: torch.Size(tensors.get_slice(name).get_shape()) for name in tensors.keys()}
                state.update({name: StoredTensor(folder / file, name, shape) for name, shape in shapes.items()})
            except (SafetensorError, OSError) as error:
                raise InputError(f"{folder / file}: not a whole safetensors file ({error})") from None
    elif (folder / "pytorch_model.bin").exists():
        state = load_tensors(folder / "pytorch_model.bin")
    else:
        raise InputError(f"{folder} has a config.json but no weights (model.safetensors); {TRAIN_HINT}")
    state = {"transformer." + str(name).removeprefix("transformer."): p for name, p in state.items()}
    return check_weights(state, config, folder, TRANSPOSED_WEIGHTS), config


class StoredTensor(NamedTuple):
    """
    A tensor in a safetensors file, which is opened anew for each one that is read: a file that stays open keeps all
    that was read of it in memory.
    """

    path: Path
    name: str
    shape: torch.Size

    def read(self) -> Tensor:
        with safe_open(self.path, framework="pt") as tensors:
            return tensors.get_tensor(self.name)


def gpt_config_from_json(content: Mapping[str, Any], path: Path) -> GPTConfig:
    """The shape in the dict of a config.json. Raises InputError, which names the path, for what is not plain GPT-2."""
    plain = {
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "tie_word_embeddings": True,
    }
    for name, value in plain.items():
        if content.get(name, value) != value:
            raise InputError(f"{path}: {name} is {content[name]!r}, a GPT-2 has {value!r}")
    try:
        n_embd = content["n_embd"]
        if content.get("n_inner") not in (None, 4 * n_embd):
            raise InputError(f"{path}: n_inner is {content['n_inner']}, a GPT-2 has 4 * n_embd = {4 * n_embd}")
        block_size = content.get("n_positions", content.get("n_ctx"))
        numbers = (block_size, content["vocab_size"], content["n_layer"], content["n_head"], n_embd)
        if not all(type(number) is int and number > 0 for number in numbers):
            raise ValueError(f"context, vocabulary, layers, heads, width are {numbers}")
        return GPTConfig(*numbers)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: config.json is not a GPT-2's ({error})") from None


def parameter_shapes(config: GPTConfig) -> dict[str, torch.Size]:
    """Name -> shape of every parameter; the embedding without rows that stand for no token."""
    with torch.device("meta"):
        wanted = {name: p.shape for name, p in GPT(config).named_parameters()}
    wanted["transformer.wte.weight"] = torch.Size((config.vocab_size, config.n_embd))
    return wanted


def check_weights(state: Mapping[str, Any], config: GPTConfig, path: Path, transposed: tuple[str, ...] = ()) -> Weights:
    """
    The weights of a GPT of this shape, out of `state`: name -> tensor, or StoredTensor. transposed: the ends of the
    names whose tensors are (n_in, n_out). Raises InputError, which names the path, if one is missing or of another
    shape.
    """
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
        return (value.t() if name.endswith(transposed) else value).float()

    return {name: functools.partial(tensor, name) for name in shapes}


def read_nanogpt(path: Path) -> tuple[Weights, GPTConfig]:
    """(weights, shape) of nanoGPT's ckpt.pt. Raises InputError if it is not one."""
    content = load_tensors(path)
    if not isinstance(content.get("model"), dict) or not isinstance(content.get("model_args"), dict):
        raise InputError(f"{path}: not nanoGPT's ckpt.pt (it has no model and model_args)")
    args = content["model_args"]
    config = gpt_config_from_json({"n_positions": args.get("block_size"), **args}, path)
    state = {str(name).removeprefix("_orig_mod."): p for name, p in content["model"].items()}
    for name, shape in parameter_shapes(config).items():
        if name.endswith("bias"):  # nanoGPT trains without biases if asked to
            state.setdefault(name, torch.zeros(shape))
    return check_weights(state, config, path), config


def download(name: str | Path) -> Path:
    """The folder of a hub model, downloaded at the first use. Raises InputError when the hub cannot be reached."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    files = ["config.json", "model.safetensors", "tokenizer.json", "vocab.json", "merges.txt"]
    try:
        return Path(snapshot_download(str(name), allow_patterns=files))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0][:120]
        raise InputError(
            f"{name}: the hub cannot be reached and no download is cached ({reason}); a local GPT-2 folder would do: "
            f"--init_from=FOLDER with config.json and model.safetensors"
        ) from None
