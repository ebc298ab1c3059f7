"""
A model folder on disk: the only file that knows its layout.

    config.json generation_config.json model.safetensors      a Hugging Face GPT-2, as transformers saves it
    tokenizer.json tokenizer_config.json                      its tokenizer, with the chat template
    chat.json                                                 ours: format number, how it was trained
    README.md                                                 ours: the model card, unless a person wrote one
    trainer.pt                                                ours: what a run needs to resume; nothing else reads it

A crash at any instant leaves a folder that loads (runtime/atomic.py). No pickle is ever executed: torch.load runs with
weights_only=True.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn as nn
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from checkpoint import adapter, card, gguf_reader, nanogpt
from checkpoint.not_a_model import TRAIN_HINT
from checkpoint.pretrained import TRANSPOSED_WEIGHTS, Weights, read_huggingface
from model import GPT, GPTConfig
from runtime import atomic, hub
from runtime.errors import InputError
from runtime.json_file import read_json_if_there
from runtime.version import version
from tokenization import tokenizer as tokenizers
from tokenization.chat_template import JINJA_TEMPLATE
from tokenization.foreign_tokenizer import has_tokenizer
from tokenization.tokenizer import Tokenizer

FORMAT = 1  # of chat.json
# how a reply is sampled by default, for other programs: as SamplingParams of inference/settings.py has it
SAMPLING = {"do_sample": True, "temperature": 0.8, "top_p": 0.9, "repetition_penalty": 1.1}
# ids that a tokenizer may have beyond the model's rows: tokens that were added and never trained
MAX_NEW_TOKENS = 1000


def save(
    folder: str | Path,
    model: GPT,
    tokenizer: Tokenizer,
    chat: Mapping[str, Any],
    parameters: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """
    Write the model folder, or replace the one that is there. chat: a dict of how it was trained, for chat.json.
    parameters: name -> tensor, of a plain GPT-2, in place of the model's own: a LoRA's, merged. dtype: of the weights.
    """
    folder = Path(folder)
    with atomic.folder(folder) as new:
        parameters = dict(model.named_parameters()) if parameters is None else parameters
        save_weights(new / "model.safetensors", parameters, model.config.vocab_size, dtype)
        contents = texts(model.config, tokenizer, chat, dtype)
        write_texts(new, contents)
        if card.may_replace(folder / card.NAME):
            about = card.text(folder.resolve().name, contents["config.json"], contents["chat.json"])
            (new / card.NAME).write_text(about, encoding="utf-8", errors="replace")


def texts(
    config: GPTConfig, tokenizer: Tokenizer, chat: Mapping[str, Any], dtype: torch.dtype = torch.float32
) -> dict[str, dict[str, Any]]:
    """File's name -> content of all that stands in a model folder beside the weights, which are of this dtype."""
    eos = [tokenizer.end_of_turn, tokenizer.endoftext]
    ends = {"bos_token_id": tokenizer.endoftext, "eos_token_id": eos, "pad_token_id": tokenizer.endoftext}
    return {
        "config.json": {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "activation_function": config.activation,
            "vocab_size": config.vocab_size,
            "n_positions": config.block_size,
            "n_ctx": config.block_size,
            "n_embd": config.n_embd,
            "n_layer": config.n_layer,
            "n_head": config.n_head,
            "n_inner": None if config.n_inner == 4 * config.n_embd else config.n_inner,
            "layer_norm_epsilon": 1e-5,
            "embd_pdrop": config.dropout,
            "resid_pdrop": config.dropout,
            "attn_pdrop": config.dropout,
            "initializer_range": 0.02,
            "tie_word_embeddings": True,
            "torch_dtype": str(dtype).removeprefix("torch."),
            **ends,
            "eos_token_id": tokenizer.end_of_turn,
        },
        "generation_config.json": {**ends, **SAMPLING},
        "tokenizer.json": tokenizer.to_json(),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": tokenizers.ENDOFTEXT,
            "eos_token": tokenizers.END_OF_TURN,
            "pad_token": tokenizers.ENDOFTEXT,
            # no token_type_ids, which transformers 4 makes else, and GPT-2 adds to its embeddings
            "model_input_names": ["input_ids", "attention_mask"],
            "padding_side": "left",  # replies to several prompts at once begin where these end
            "model_max_length": config.block_size,
            "clean_up_tokenization_spaces": False,
            "chat_template": JINJA_TEMPLATE,
        },
        "chat.json": {
            "format": FORMAT,
            "version": version(),
            "tokenizer": {"name": tokenizer.name, "hash": tokenizer.hash},
            **chat,
        },
    }


def write_texts(folder: Path, contents: Mapping[str, Mapping[str, Any]]) -> None:
    """Write JSON files, name -> content, into a folder."""
    for name, content in contents.items():
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        # a path may hold bytes that are not UTF-8; escaped they are JSON
        (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")


def save_weights(
    path: Path, parameters: Mapping[str, Tensor], vocab_size: int, dtype: torch.dtype, prefix: str = "transformer."
) -> None:
    """
    Write a GPT's parameters, name -> tensor, under Hugging Face's names and in its layout, in this dtype. prefix: of
    the names; OpenAI's own have none.
    """
    state = {name: p.detach().to(dtype) for name, p in parameters.items()}
    state["transformer.wte.weight"] = state["transformer.wte.weight"][:vocab_size]
    state = {
        prefix + name.removeprefix("transformer."): (p.t() if name.endswith(TRANSPOSED_WEIGHTS) else p)
        .contiguous()
        .cpu()
        for name, p in state.items()
    }
    try:
        save_file(state, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(None, f"the model could not be written ({error}); what was there is kept", str(path)) from error


class Loaded(NamedTuple):
    """What a model folder holds."""

    model: GPT
    tokenizer: Tokenizer
    chat: dict[str, Any]  # the content of chat.json; empty if another program made the folder


MakeLinear = Callable[[Tensor, Tensor], nn.Module]  # (weight, bias) -> the module of a linear layer


def load(
    init_from: str | Path,
    tokenizer: Tokenizer | None = None,
    dropout: float = 0.0,
    make_linear: MakeLinear | None = None,
) -> Loaded:
    """
    A model from a folder (ours, any Hugging Face GPT-2, or a LoRA adapter of one), a GGUF file, a nanoGPT ckpt.pt, or a
    name of the hub. Raises InputError.

    tokenizer: the one that the data were made with; it must be the folder's own, but for tokens that it adds.
    make_linear: makes the module of each linear layer as its weights are read, so that the whole model is never in
    memory.
    """
    folder = hub.local_folder(init_from)
    weights, config, own = read_weights(folder)
    config.dropout = dropout
    if own is None and tokenizer is None:
        tokenizer = tokenizers.load("gpt2")  # nanoGPT's, and a bare GPT-2's
    if own and tokenizer and own.hash != tokenizer.hash:
        raise InputError(
            f"{init_from} has the tokenizer {own.name} ({own.hash}), the data {tokenizer.name} ({tokenizer.hash}): "
            f"they must be the same; prepare the data with --tokenizer={init_from}"
        )
    if own:
        own.n_base_vocab = min(own.n_base_vocab, config.vocab_size)  # ids without a row are as new as the chat's
    tokenizer = own or tokenizer
    assert tokenizer is not None
    check_vocabulary(config, tokenizer, is_own=own is not None, init_from=init_from)
    chat = read_chat(speech_folder(folder))
    chat_tokens = (tokenizer.system, tokenizer.human, tokenizer.bot, tokenizer.end_of_turn)
    n_known = own.n_base_vocab if own else min(chat_tokens)  # rows behind these stand for no token yet
    return Loaded(build_model(weights, config, tokenizer, n_known, make_linear), tokenizer, chat)


def read_weights(folder: Path) -> tuple[Weights, GPTConfig, Tokenizer | None]:
    """(weights, shape, the model's own tokenizer if it has one) of a model folder, a GGUF file or nanoGPT's ckpt.pt."""
    if gguf_reader.is_gguf(folder):
        weights, config = gguf_reader.read_gguf(folder)
        speech = gguf_reader.speech_folder(folder)
        return weights, config, tokenizers.load(speech) if has_tokenizer(speech) else None
    if folder.is_file() or (folder / "ckpt.pt").exists() and not (folder / "config.json").exists():
        return nanogpt.read_nanogpt(folder if folder.is_file() else folder / "ckpt.pt")
    if folder.is_dir():
        atomic.finish(folder)
    is_adapter = adapter.is_adapter(folder)
    weights, config = read_huggingface(adapter.base_of(folder) if is_adapter else folder)
    if is_adapter:
        weights = adapter.merged(folder, weights, config)
    speech = speech_folder(folder)
    return weights, config, tokenizers.load(speech) if has_tokenizer(speech) else None


def speech_folder(init_from: str | Path) -> Path:
    """
    The folder whose tokenizer, chat template and end tokens are a model's: its own, for an adapter without a tokenizer
    that of its base model, and for a GGUF file a temporary one.
    """
    folder = hub.local_folder(init_from)
    if gguf_reader.is_gguf(folder):
        return gguf_reader.speech_folder(folder)
    if adapter.is_adapter(folder) and not has_tokenizer(folder):
        return adapter.base_of(folder)
    return folder.parent if folder.is_file() else folder


def check_vocabulary(config: GPTConfig, tokenizer: Tokenizer, is_own: bool, init_from: str | Path) -> None:
    """Raise InputError unless the model has a row for each token, and, with GPT-2's tokenizer, hardly more."""
    too_few = config.vocab_size < max(tokenizer.ranks.values(), default=0) + 1
    too_few |= tokenizer.n_vocab > config.vocab_size + MAX_NEW_TOKENS
    padded = -(-tokenizer.n_vocab // 128) * 128  # nanoGPT and others pad to such a multiple
    if too_few and is_own:
        raise InputError(
            f"{init_from} has {config.vocab_size} tokens, its tokenizer {tokenizer.name} {tokenizer.n_vocab}: "
            f"not the same vocabulary; put the tokenizer there that the model was trained with"
        )
    if too_few or not is_own and config.vocab_size > padded:
        raise InputError(
            f"{init_from} has {config.vocab_size} tokens and no tokenizer, {tokenizer.name} has {tokenizer.n_vocab}: "
            f"not the same vocabulary; the model needs its own tokenizer.json beside it"
        )


def read_chat(folder: Path) -> dict[str, Any]:
    """The content of chat.json; empty if there is none. Raises InputError if it is of another format."""
    path = folder / "chat.json"
    chat = read_json_if_there(path)
    if chat and chat.get("format") != FORMAT:
        raise InputError(f"{path}: format {chat.get('format')}, this is {FORMAT}; {TRAIN_HINT}")
    return chat


def build_model(
    weights: Weights, config: GPTConfig, tokenizer: Tokenizer, n_known: int, make_linear: MakeLinear | None
) -> GPT:
    """A GPT with these weights. Tokens from n_known on are new: their rows start from what the model knows of them."""
    config.vocab_size = min(n_known, config.vocab_size)
    with torch.device("meta"):
        model = GPT(config)
    for name, module in list(model.named_modules()):
        if make_linear and isinstance(module, nn.Linear):
            parent, _, attribute = name.rpartition(".")
            weight, bias = weights.pop(f"{name}.weight")(), weights.pop(f"{name}.bias")()
            setattr(model.get_submodule(parent), attribute, make_linear(weight, bias))
            continue
        for attribute, p in module.named_parameters(recurse=False):
            rows = weights.pop(f"{name}.{attribute}")()
            rows = rows[: config.vocab_size] if name.endswith("wte") else rows  # further ones stand for nothing
            new = torch.zeros if len(rows) < len(p) else torch.empty
            whole = nn.Parameter(new(p.shape))
            whole.data[: len(rows)] = rows[: len(p)]
            setattr(module, attribute, whole)
    if config.vocab_size < tokenizer.n_vocab:
        known = list(range(config.vocab_size))
        new = range(config.vocab_size, tokenizer.n_vocab)
        model.grow([[i for i in tokenizer.plain_ids(token) if i < len(known)] or known for token in new])
    return model.eval()
