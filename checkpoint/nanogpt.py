"""nanoGPT's ckpt.pt, of a GPT-2 or of a character model with its meta.pkl. No pickle is ever executed."""

from pathlib import Path
from typing import Any

import torch

from checkpoint import not_a_model
from checkpoint.pretrained import (
    Weights,
    check_size,
    check_weights,
    gpt_config_from_json,
    load_tensors,
    parameter_shapes,
    tie_head,
)
from model import GPTConfig
from runtime.errors import InputError
from tokenization.tokenizer import Tokenizer, load, load_characters

GPT2_VOCAB = 50257  # tokens; a model of fewer has another tokenizer


def read_nanogpt(path: Path) -> tuple[Weights, GPTConfig, Tokenizer | None]:
    """
    (weights, shape, the tokenizer in meta.pkl if there is one) of nanoGPT's ckpt.pt. Raises InputError if it is not
    one, or a character model without its meta.pkl.
    """
    if error := not_a_model.file_error(path):
        raise error
    content = load_tensors(path)
    if not isinstance(content.get("model"), dict) or not isinstance(content.get("model_args"), dict):
        raise InputError(f"{path}: not nanoGPT's ckpt.pt (it has no model and model_args)")
    args = content["model_args"]
    config = gpt_config_from_json({"n_positions": args.get("block_size"), **args}, path)
    tensors = {name: p for name, p in content["model"].items() if isinstance(p, torch.Tensor)}
    state = {str(name).removeprefix("_orig_mod."): p for name, p in tensors.items()}
    state = {"transformer.lm_head.weight" if name == "lm_head.weight" else name: p for name, p in state.items()}
    tie_head(state, path)
    check_size(state, config, path)
    for name, shape in parameter_shapes(config).items():
        if name.endswith("bias"):  # nanoGPT trains without biases if asked to
            state.setdefault(name, torch.zeros(shape))
    return check_weights(state, config, path), config, own_tokenizer(path, content.get("config"), config)


def own_tokenizer(path: Path, run: Any, config: GPTConfig) -> Tokenizer | None:
    """
    The tokenizer beside ckpt.pt, or of a character model; None for a model of GPT-2's tokens. run: the settings that
    ckpt.pt holds. meta.pkl is looked for beside it, and where nanoGPT keeps it: in data/DATASET, from here or beside
    out_dir.
    """
    if any((path.parent / name).exists() for name in ("tokenizer.json", "vocab.json")):
        return load(path.parent)
    dataset = run.get("dataset") if isinstance(run, dict) else None
    places = [path.parent]
    if isinstance(dataset, str) and dataset:
        places += [Path("data", dataset), path.parent.parent / "data" / dataset]
    meta = next((place / "meta.pkl" for place in places if (place / "meta.pkl").is_file()), None)
    if config.vocab_size >= GPT2_VOCAB and meta != path.parent / "meta.pkl":
        return None
    if meta is None:
        raise InputError(
            f"{path} has {config.vocab_size} tokens: a character model needs its meta.pkl beside it; copy nanoGPT's "
            f"data/{dataset or 'shakespeare_char'}/meta.pkl there"
        )
    tokenizer = load_characters(meta)
    if tokenizer.n_base_vocab > config.vocab_size:
        raise InputError(f"{meta} has {tokenizer.n_base_vocab} characters, {path} {config.vocab_size}: not its own")
    return tokenizer
