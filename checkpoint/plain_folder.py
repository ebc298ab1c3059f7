"""
Any model that loads here, a GGUF file or a merged adapter for example, as a plain Hugging Face folder for programs that
read nothing else: its weights, and how to speak to it.
"""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import torch

from checkpoint import model_folder
from checkpoint.model_folder import Loaded
from runtime import atomic
from tokenization.chat_template import ChatTags, ChatTemplate, PlainText, template_for

# how a model is spoken to: its own files stand as they are
SPEECH = ("generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "vocab.json")
SPEECH += ("merges.txt", "special_tokens_map.json", "added_tokens.json")


def write_plain(
    path: Path, folder: str | Path, loaded: Loaded, dtype: torch.dtype = torch.float32, prefix: str = "transformer."
) -> None:
    """
    Write the model that was loaded from `folder` into the folder `path`, which is replaced. prefix: of the names of its
    tensors.
    """
    template = template_of(folder, loaded)
    with atomic.folder(path) as new:
        parameters = dict(loaded.model.named_parameters())
        model_folder.save_weights(new / "model.safetensors", parameters, template.n_vocab, dtype, prefix)
        write_speech(new, folder, loaded, template, dtype)


def template_of(folder: str | Path, loaded: Loaded) -> ChatTemplate:
    """How the model that was loaded from `folder` is spoken to."""
    return template_for(model_folder.speech_folder(folder), loaded.tokenizer, loaded.chat)


def write_speech(
    new: Path, folder: str | Path, loaded: Loaded, template: ChatTemplate, dtype: torch.dtype = torch.float32
) -> None:
    """
    Write config.json and all that says how to speak to the model into `new`: its own files, and in place of those that
    it lacks others, which tell of no token and no template that it was not taught. dtype: of the weights beside them.
    """
    config = dataclasses.replace(loaded.model.config, vocab_size=template.n_vocab)
    texts = model_folder.texts(config, loaded.tokenizer, loaded.chat, dtype)
    if not isinstance(template, ChatTags):
        forget_our_tags(texts, template)
    model_folder.write_texts(new, texts)
    speech = model_folder.speech_folder(folder)
    for own in (speech / name for name in SPEECH):
        if own.is_file():
            shutil.copyfile(own, new / own.name)


def forget_our_tags(texts: dict[str, dict[str, Any]], template: ChatTemplate) -> None:
    """Take out of model_folder.texts, in place, what only a model of ours has: tags, template, end-of-turn."""
    del texts["chat.json"]
    n_vocab, tokenizer = template.n_vocab, texts["tokenizer.json"]
    vocab = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {text: token for text, token in vocab.items() if token < n_vocab}
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["id"] < n_vocab]
    ends = template.document_stop_ids if isinstance(template, PlainText) else template.stop_token_ids
    opening = [*template.opening, *ends, None][0]
    end = ends[0] if ends else None
    texts["config.json"] |= {"bos_token_id": opening, "eos_token_id": end, "pad_token_id": end}
    texts["generation_config.json"] = {"bos_token_id": opening, "eos_token_id": list(ends) or None}
    names = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    named = {"bos_token": names.get(opening), "eos_token": names.get(end), "pad_token": names.get(end)}
    kept = {key: value for key, value in texts["tokenizer_config.json"].items() if not key.endswith("_token")}
    del kept["chat_template"]
    texts["tokenizer_config.json"] = kept | {key: name for key, name in named.items() if name is not None}
