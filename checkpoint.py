"""
A model folder on disk: the only file that knows its layout.

    config.json generation_config.json model.safetensors      a Hugging Face GPT-2, as transformers saves it
    tokenizer.json tokenizer_config.json                      its tokenizer, with the chat template
    chat.json                                                 ours: format number, how it was trained
    trainer.pt                                                ours: what a run needs to resume; nothing else reads it

A crash at any instant leaves a folder that loads (atomic.py). No pickle is ever executed: torch.load runs with
weights_only=True.
"""

import errno
import functools
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import atomic
import lora
import tokenizer as tokenizers
from configurator import InputError
from model import GPT, GPTConfig

FORMAT = 1
DAMAGED = (pickle.UnpicklingError, zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, LookupError)
DAMAGED += (TypeError, AttributeError)  # the parts of a pickled tensor do not fit each other
HUB = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
TRAIN_FIRST = "train one: python train.py config/finetune_chat.py"
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")  # GPT-2's Conv1D

# The render of conversation.py for other programs. A tag typed by a person is taken apart, since they would encode it
# as the tag's id; that is the one case in which their ids differ from ours.
CHAT_TEMPLATE = (
    "{%- set tags = {'system': '[System]:', 'user': '[Human]:', 'assistant': '[Bot]:'} -%}"
    "{%- set turn = namespace(speaker=none) -%}"
    "{{- '<|endoftext|>' -}}"
    "{%- for message in messages -%}"
    "{%- set name = message['name'] | default(none) if message['role'] == 'user' else none -%}"
    "{%- set starts = [message['role'], name] != turn.speaker -%}"
    "{%- set text = (name ~ ': ' if name and starts else '') ~ message['content'] | trim -%}"
    "{%- set text = text | replace('[System]:', '[System] :') | replace('[Human]:', '[Human] :')"
    " | replace('[Bot]:', '[Bot] :') | replace('<|end', '<| end') -%}"
    "{{- ('' if loop.first else '<|endofturn|>') ~ tags[message['role']] ~ ' ' ~ text if starts else '\n' ~ text -}}"
    "{%- set turn.speaker = [message['role'], name] -%}"
    "{%- endfor -%}"
    "{{- '<|endofturn|>' if messages else '' -}}"
    "{{- '[Bot]:' if add_generation_prompt else '' -}}"
)


def save(folder, model, tokenizer, chat):
    """Write the model folder, or replace the one that is there. chat: a dict of how it was trained, for chat.json."""
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
            "chat_template": CHAT_TEMPLATE,
        },
        "chat.json": {"format": FORMAT, "tokenizer": {"name": tokenizer.name, "hash": tokenizer.hash}, **chat},
    }
    with atomic.folder(folder) as new:
        save_weights(new / "model.safetensors", model)
        for name, content in texts.items():
            (new / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def save_weights(path, model):
    """The model's parameters under Hugging Face's names and in its layout, float32."""
    state = {name: p.detach().float() for name, p in lora.plain(model)}
    state["transformer.wte.weight"] = state["transformer.wte.weight"][: model.config.vocab_size]
    state = {name: (p.t() if name.endswith(TRANSPOSED) else p).contiguous().cpu() for name, p in state.items()}
    try:
        save_file(state, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(None, f"the model could not be written ({error}); the older one is kept", str(path)) from error


def save_trainer(folder, state):
    """Replace trainer.pt whole: state is a dict of tensors and plain values."""
    path = Path(folder) / "trainer.pt"
    with atomic.file(path) as new:
        try:
            torch.save(state, new)
        except RuntimeError as error:  # torch's archive writer, which does not say that the disk is full
            full = shutil.disk_usage(path.parent).free < 2**20
            why = os.strerror(errno.ENOSPC) if full else error
            raise OSError(None, f"the run's state could not be written ({why}); the older one is kept", path) from error


def load_trainer(folder):
    """What save_trainer wrote. Raises InputError if there is nothing to resume from."""
    path = Path(folder) / "trainer.pt"
    if not path.exists():
        raise InputError(f"{folder} has no trainer.pt to resume from; start anew without --init_from=resume")
    return unpickled(path)


def unpickled(path):
    """The dict in a file of torch.save; no code is run. Raises InputError if broken, or if it would need code."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict):
            raise ValueError("not a dict")
        return content
    except DAMAGED as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "broken file"
        raise InputError(f"{path}: refused, it holds more than tensors or is damaged ({reason[:120]})") from None


def load(init_from, tokenizer=None, block_size=None, dropout=0.0, linear=None):
    """
    (model, tokenizer, chat) from a folder (ours or any Hugging Face GPT-2), a nanoGPT ckpt.pt, or a name of the hub.
    tokenizer: the one that the data were made with; it must be the folder's own, but for tokens that it adds.
    block_size: the context to keep, at most the folder's. chat: the content of chat.json, {} if another made it.
    linear: makes the module of each linear layer from (weight, bias), as each is read: the whole is never in memory.
    Raises InputError.
    """
    folder = downloaded(init_from) if str(init_from) in HUB and not Path(init_from).exists() else Path(init_from)
    if folder.is_file() or (folder / "ckpt.pt").exists() and not (folder / "config.json").exists():
        state, config = nanogpt_state(folder if folder.is_file() else folder / "ckpt.pt")
        own = None
    else:
        if folder.is_dir():
            atomic.finish(folder)
        state, config = huggingface_state(folder)
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
        raise InputError(f"{chat_path}: format {chat.get('format')}, this is {FORMAT}; {TRAIN_FIRST}")
    chat_tokens = (tokenizer.system, tokenizer.human, tokenizer.bot, tokenizer.end_of_turn)
    n_known = own.n_given if own else min(chat_tokens)  # rows behind these stand for no token yet
    return model_of(state, config, tokenizer, n_known, block_size, linear), tokenizer, chat


def model_of(state, config, tokenizer, n_known, block_size, linear):
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


def read_json(path):
    """The dict in a JSON file."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); the file is damaged") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object; the file is damaged")
    return content


def huggingface_state(folder):
    """(state, GPTConfig) of a Hugging Face GPT-2 folder, as `checked` has it."""
    if not (folder / "config.json").exists():
        wanted = "a folder with config.json and model.safetensors, or one of " + ", ".join(HUB)
        raise InputError(f"{folder} has no model ({wanted}); {TRAIN_FIRST}")
    content = read_json(folder / "config.json")
    config = gpt_config(content, folder)
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
                state.update({name: Stored(folder / file, name, shape) for name, shape in shapes.items()})
            except (SafetensorError, OSError) as error:
                raise InputError(f"{folder / file}: not a whole safetensors file ({error})") from None
    elif (folder / "pytorch_model.bin").exists():
        state = unpickled(folder / "pytorch_model.bin")
    else:
        raise InputError(f"{folder} has a config.json but no weights (model.safetensors); {TRAIN_FIRST}")
    state = {"transformer." + str(name).removeprefix("transformer."): p for name, p in state.items()}
    return checked(state, config, folder, TRANSPOSED), config


class Stored(NamedTuple):
    """A tensor in a safetensors file, opened when it is read: what was read before is not kept in view."""

    path: Path
    name: str
    shape: torch.Size

    def read(self):
        with safe_open(self.path, framework="pt") as tensors:
            return tensors.get_tensor(self.name)


def gpt_config(content, where):
    """GPTConfig of the dict in a config.json. Raises InputError for what is not plain GPT-2."""
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
            raise InputError(f"{where}: {name} is {content[name]!r}, a GPT-2 has {value!r}")
    try:
        n_embd = content["n_embd"]
        if content.get("n_inner") not in (None, 4 * n_embd):
            raise InputError(f"{where}: n_inner is {content['n_inner']}, a GPT-2 has 4 * n_embd = {4 * n_embd}")
        block_size = content.get("n_positions", content.get("n_ctx"))
        numbers = (block_size, content["vocab_size"], content["n_layer"], content["n_head"], n_embd)
        if not all(type(number) is int and number > 0 for number in numbers):
            raise ValueError(f"context, vocabulary, layers, heads, width are {numbers}")
        return GPTConfig(*numbers)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: config.json is not a GPT-2's ({error})") from None


def shapes(config):
    """Name -> shape of every parameter, the embedding without rows that stand for no token."""
    with torch.device("meta"):
        wanted = {name: p.shape for name, p in GPT(config).named_parameters()}
    wanted["transformer.wte.weight"] = torch.Size((config.vocab_size, config.n_embd))
    return wanted


def checked(state, config, where, transposed=()):
    """
    Name -> a function that gives the tensor, float32, in our layout: of those in `state` (tensors, or Stored ones)
    that a GPT of this config has. transposed: the names' ends whose tensors are so. Raises InputError.
    """
    wanted = shapes(config)
    missing = sorted(name for name in wanted if not isinstance(state.get(name), torch.Tensor | Stored))
    if missing:
        raise InputError(f"{where}: the weights lack {missing[0]} (and {len(missing) - 1} more); not a whole GPT-2")
    for name, shape in wanted.items():
        given = state[name].shape[::-1] if name.endswith(transposed) else state[name].shape
        if given != shape:
            raise InputError(f"{where}: {name} is {tuple(given)}, its config says {tuple(shape)}")

    def tensor(name):
        value = state[name].read() if isinstance(state[name], Stored) else state[name]
        return (value.t() if name.endswith(transposed) else value).float()

    return {name: functools.partial(tensor, name) for name in wanted}


def nanogpt_state(path):
    """(state, GPTConfig) of nanoGPT's ckpt.pt."""
    content = unpickled(path)
    if not isinstance(content.get("model"), dict) or not isinstance(content.get("model_args"), dict):
        raise InputError(f"{path}: not nanoGPT's ckpt.pt (it has no model and model_args)")
    args = content["model_args"]
    config = gpt_config({"n_positions": args.get("block_size"), **args}, path)
    state = {str(name).removeprefix("_orig_mod."): p for name, p in content["model"].items()}
    for name, shape in shapes(config).items():
        if name.endswith("bias"):  # nanoGPT trains without biases if asked to
            state.setdefault(name, torch.zeros(shape))
    return checked(state, config, path), config


def downloaded(name):
    """The folder of a hub model, downloaded at the first use. Raises InputError when the hub cannot be reached."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    files = ["config.json", "model.safetensors", "tokenizer.json", "vocab.json", "merges.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0][:120]
        raise InputError(
            f"{name}: the hub cannot be reached and no download is cached ({reason}); a local GPT-2 folder would do: "
            f"--init_from=FOLDER with config.json and model.safetensors"
        ) from None
