"""
A model folder on disk: the only file that knows its layout.

    config.json generation_config.json model.safetensors      a Hugging Face GPT-2, as transformers saves it
    tokenizer.json tokenizer_config.json                      its tokenizer, with the chat template
    chat.json                                                 ours: format number, how it was trained
    trainer.pt                                                ours: what a run needs to resume; nothing else reads it

A crash at any instant leaves a folder that loads (atomic.py). No pickle is ever executed: torch.load runs with
weights_only=True.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from checkpoint.pretrained import (
    HUB_NAMES,
    TRAIN_HINT,
    TRANSPOSED_WEIGHTS,
    download,
    read_huggingface,
    read_json,
    read_nanogpt,
)
from model import GPT
from runtime import atomic
from runtime.errors import InputError
from tokenization import tokenizer as tokenizers
from tokenization.chat_template import JINJA_TEMPLATE

FORMAT = 1


def save(folder, model, tokenizer, chat, parameters=None):
    """
    Write the model folder, or replace the one that is there. chat: a dict of how it was trained, for chat.json.
    parameters: name -> tensor, of a plain GPT-2, in place of the model's own: a LoRA's, merged.
    """
    folder = Path(folder)
    config = model.config
    eos = [tokenizer.end_of_turn, tokenizer.endoftext]
    ends = {"bos_token_id": tokenizer.endoftext, "eos_token_id": eos, "pad_token_id": tokenizer.endoftext}
    texts = {
        "config.json": {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "activation_function": "gelu_new",
            "vocab_size": config.vocab_size,
            "n_positions": config.block_size,
            "n_ctx": config.block_size,
            "n_embd": config.n_embd,
            "n_layer": config.n_layer,
            "n_head": config.n_head,
            "n_inner": None,
            "layer_norm_epsilon": 1e-5,
            "embd_pdrop": config.dropout,
            "resid_pdrop": config.dropout,
            "attn_pdrop": config.dropout,
            "initializer_range": 0.02,
            "tie_word_embeddings": True,
            "torch_dtype": "float32",
            **ends,
            "eos_token_id": tokenizer.end_of_turn,
        },
        "generation_config.json": {**ends, "do_sample": True, "temperature": 0.8, "top_p": 0.95},
        "tokenizer.json": tokenizer.to_json(),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": tokenizers.ENDOFTEXT,
            "eos_token": tokenizers.END_OF_TURN,
            "pad_token": tokenizers.ENDOFTEXT,
            "model_max_length": config.block_size,
            "clean_up_tokenization_spaces": False,
            "chat_template": JINJA_TEMPLATE,
        },
        "chat.json": {"format": FORMAT, "tokenizer": {"name": tokenizer.name, "hash": tokenizer.hash}, **chat},
    }
    with atomic.folder(folder) as new:
        parameters = dict(model.named_parameters()) if parameters is None else parameters
        save_weights(new / "model.safetensors", parameters, config.vocab_size)
        for name, content in texts.items():
            (new / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def save_weights(path, parameters, vocab_size):
    """Write a GPT's parameters, name -> tensor, under Hugging Face's names and in its layout, float32."""
    state = {name: p.detach().float() for name, p in parameters.items()}
    state["transformer.wte.weight"] = state["transformer.wte.weight"][:vocab_size]
    state = {name: (p.t() if name.endswith(TRANSPOSED_WEIGHTS) else p).contiguous().cpu() for name, p in state.items()}
    try:
        save_file(state, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(None, f"the model could not be written ({error}); the older one is kept", str(path)) from error


def load(init_from, tokenizer=None, block_size=None, dropout=0.0, linear=None):
    """
    (model, tokenizer, chat) from a folder (ours or any Hugging Face GPT-2), a nanoGPT ckpt.pt, or a name of the hub.
    tokenizer: the one that the data were made with; it must be the folder's own, but for tokens that it adds.
    block_size: the context to keep, at most the folder's. chat: the content of chat.json, {} if another made it.
    linear: makes the module of each linear layer from (weight, bias), as each is read: the whole is never in memory.
    Raises InputError.
    """
    folder = download(init_from) if str(init_from) in HUB_NAMES and not Path(init_from).exists() else Path(init_from)
    if folder.is_file() or (folder / "ckpt.pt").exists() and not (folder / "config.json").exists():
        state, config = read_nanogpt(folder if folder.is_file() else folder / "ckpt.pt")
        own = None
    else:
        if folder.is_dir():
            atomic.finish(folder)
        state, config = read_huggingface(folder)
        has_tokenizer = (folder / "tokenizer.json").exists() or (folder / "vocab.json").exists()
        own = tokenizers.load(folder) if has_tokenizer else None
    config.dropout = dropout
    if own is None and tokenizer is None:
        tokenizer = tokenizers.load("gpt2")  # nanoGPT's, and a bare GPT-2's
    if own and tokenizer and own.hash != tokenizer.hash:
        raise InputError(
            f"{init_from} has the tokenizer {own.name} ({own.hash}), the data {tokenizer.name} ({tokenizer.hash}): "
            f"they must be the same; prepare the data with --tokenizer={init_from}"
        )
    tokenizer = own or tokenizer
    most = None if own else -(-tokenizer.n_vocab // 128) * 128  # nanoGPT and others pad; a model may bring more
    if config.vocab_size < max(tokenizer.ranks.values()) + 1 or most and config.vocab_size > most:
        raise InputError(
            f"{init_from} has {config.vocab_size} tokens, the tokenizer {tokenizer.name} {tokenizer.n_vocab}: "
            f"not the same vocabulary; prepare the data with the model's own, --tokenizer=FOLDER"
        )
    chat_path = folder / "chat.json"
    chat = read_json(chat_path) if chat_path.exists() else {}
    if chat and chat.get("format") != FORMAT:
        raise InputError(f"{chat_path}: format {chat.get('format')}, this is {FORMAT}; {TRAIN_HINT}")
    chat_tokens = (tokenizer.system, tokenizer.human, tokenizer.bot, tokenizer.end_of_turn)
    n_known = own.n_given if own else min(chat_tokens)  # rows behind these stand for no token yet
    return build_model(state, config, tokenizer, n_known, block_size, linear), tokenizer, chat


def build_model(state, config, tokenizer, n_known, block_size, linear):
    """A GPT with the weights `state` (checked's); new tokens start from what the model knows of them."""
    config.vocab_size = min(n_known, config.vocab_size)
    config.block_size = min(block_size or config.block_size, config.block_size)
    with torch.device("meta"):
        model = GPT(config)
    for name, module in list(model.named_modules()):
        if linear and isinstance(module, torch.nn.Linear):
            parent, _, own = name.rpartition(".")
            setattr(
                model.get_submodule(parent), own, linear(state.pop(f"{name}.weight")(), state.pop(f"{name}.bias")())
            )
            continue
        for own, p in module.named_parameters(recurse=False):
            rows = state.pop(f"{name}.{own}")()
            rows = rows[: config.vocab_size] if name.endswith("wte") else rows  # further ones stand for nothing
            empty = torch.zeros if len(rows) < len(p) else torch.empty
            whole = torch.nn.Parameter(empty(p.shape))
            whole.data[: len(rows)] = rows[: len(p)]
            setattr(module, own, whole)
    if config.vocab_size < tokenizer.n_vocab:
        model.grow([tokenizer.pieces(id) for id in range(config.vocab_size, tokenizer.n_vocab)])
    return model.eval()
