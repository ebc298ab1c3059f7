"""
GGUF files of a GPT-2, as llama.cpp's converter, other programs and export.py write them: weights of any kind that the
gguf package can unpack, and the tokenizer and the chat template of their metadata, which become the files of a folder.
"""

import atexit
import functools
import json
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from checkpoint import not_a_model
from checkpoint.pretrained import EMBEDDING, StoredTensor, Weights, check_weights, gpt_config_from_json
from model import GPTConfig
from runtime.errors import InputError
from tokenization.chat_template import JINJA_TEMPLATE
from tokenization.special_tokens import BARRIER
from tokenization.tokenizer import SPECIAL_TOKENS, WITHOUT_BARRIER

# what the package raises for a file that is damaged
UNREADABLE = (ValueError, LookupError, TypeError, OSError, OverflowError, MemoryError, struct.error)
# llama.cpp's names of tensors, without .weight and .bias -> GPT-2's
NAMES = {"token_embd": "wte", "position_embd": "wpe", "output_norm": "ln_f"}
LAYER_NAMES = {"attn_norm": "ln_1", "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj", "ffn_norm": "ln_2"}
LAYER_NAMES |= {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}
HEAD = "output.weight"
# by how much a head that is stored beside the embedding may differ from it, relative to its size: both were rounded, to
# 4 bits or less (2 bits are off by a third); matrices that have nothing to do with each other differ by 1.4
HEAD_TOLERANCE = 0.5
PATTERNS = ("gpt-2", "default", "phi-2", "olmo", "mpt")  # tokenizer.ggml.pre: those that split words as GPT-2 does
CONTROL, USER_DEFINED, UNUSED = 3, 4, 5  # tokenizer.ggml.token_type: not text, a word that was added, no token


class GGUFFile:
    """A GGUF file of a GPT-2: its metadata, and its tensors, which stay on the disk until they are used."""

    def __init__(self, path: Path) -> None:
        try:
            # pyright takes the writer in this folder for the package
            from gguf import GGUFReader  # pyright: ignore[reportAttributeAccessIssue]
        except ImportError:
            raise InputError(f"{path} is a GGUF file; reading it needs the package gguf: pip install gguf") from None
        self.path = path
        try:
            reader = GGUFReader(path)
            self.metadata = {name: field.contents() for name, field in reader.fields.items()}
            self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        except UNREADABLE as error:
            reason = not_a_model.pointer(path) or f"not a whole GGUF file ({str(error) or type(error).__name__:.120})"
            raise InputError(f"{path}: {reason}") from None
        kind = self.metadata.get("general.type", "model")
        if kind != "model":
            raise InputError(f"{path} is no model but the {kind} of one; say the model's own file")
        if self.metadata.get("split.count", 0) not in (0, 1):
            raise InputError(f"{path} is a part of a model; join the parts: llama-gguf-split --merge")

    def config_json(self) -> dict[str, Any]:
        """The metadata as a config.json has them."""
        arch = self.metadata.get("general.architecture")
        numbers = {key.removeprefix(f"{arch}."): value for key, value in self.metadata.items()}
        vocab = self.tensors["token_embd.weight"].shape[-1] if "token_embd.weight" in self.tensors else None
        return {
            "model_type": arch,
            "n_positions": numbers.get("context_length"),
            "n_embd": numbers.get("embedding_length"),
            "n_layer": numbers.get("block_count"),
            "n_head": numbers.get("attention.head_count"),
            "n_inner": numbers.get("feed_forward_length"),
            # written as a float32, which is not 1e-5
            "layer_norm_epsilon": float(f"{numbers.get('attention.layer_norm_epsilon', 1e-5):.6g}"),
            "vocab_size": None if vocab is None else int(vocab),
        }

    def weights(self) -> tuple[Weights, GPTConfig]:
        """As read_huggingface gives them: (name -> function that gives the tensor in float32, shape)."""
        config = gpt_config_from_json(self.config_json(), self.path)
        state = dict(self.named_tensors())
        if HEAD in self.tensors and EMBEDDING in state:
            state[EMBEDDING] = state[EMBEDDING]._replace(read=self.tied)
        return check_weights(state, config, self.path), config

    def named_tensors(self) -> Iterator[tuple[str, StoredTensor]]:
        """GPT-2's name of each tensor that has one, and the tensor."""
        for name, tensor in self.tensors.items():
            stem, _, kind = name.rpartition(".")
            if stem.startswith("blk.") and stem.count(".") > 1:
                _, layer, part = stem.split(".", 2)
                ours = f"h.{layer}.{LAYER_NAMES[part]}" if part in LAYER_NAMES else None
            else:
                ours = NAMES.get(stem)
            if ours is not None:
                shape = torch.Size(int(n) for n in reversed(tensor.shape))
                yield f"transformer.{ours}.{kind}", StoredTensor(shape, functools.partial(self.read, name))

    def read(self, name: str) -> Tensor:
        """The tensor in float32. Raises InputError if it is of a kind that nobody can unpack, or damaged."""
        from gguf import dequantize  # pyright: ignore[reportAttributeAccessIssue]

        tensor = self.tensors[name]
        try:
            numbers = dequantize(tensor.data, tensor.tensor_type)
        except (NotImplementedError, *UNREADABLE) as error:
            raise InputError(f"{self.path}: {name} is stored as {tensor.tensor_type.name}: {error}") from None
        return torch.from_numpy(np.array(numbers, np.float32)).view(*(int(n) for n in reversed(tensor.shape)))

    def tied(self) -> Tensor:
        """The one matrix of embedding and head, where a file has both. Raises InputError if they are two."""
        from gguf import GGML_QUANT_SIZES  # pyright: ignore[reportAttributeAccessIssue]

        names = ("token_embd.weight", HEAD)
        rows, head = map(self.read, names)
        if rows.shape != head.shape or float((rows - head).norm()) > HEAD_TOLERANCE * float(rows.norm()):
            raise InputError(f"{self.path}: its head (output) is not its embedding; a GPT-2 has one matrix for both")
        bits = []  # of a number: those of a block by its numbers
        for name in names:
            n_numbers, n_bytes = GGML_QUANT_SIZES[self.tensors[name].tensor_type]
            bits.append(8 * n_bytes / n_numbers)
        return head if bits[1] > bits[0] else rows  # the one that was rounded less

    def folder_files(self) -> dict[str, dict[str, Any]]:
        """
        Name -> content of the files of a folder that say how to speak to the model; {} if the file has no tokenizer.
        chat.json is among them for a model of ours, which its chat template shows. Raises InputError.
        """
        ggml = {key.removeprefix("tokenizer.ggml."): value for key, value in self.metadata.items()}
        if "tokens" not in ggml:
            return {}
        if ggml.get("model") != "gpt2" or ggml.get("pre", "default") not in PATTERNS:
            kind = f"{ggml.get('model')}, {ggml.get('pre', 'default')}"
            raise InputError(f"{self.path} has another tokenizer ({kind}), not a byte-level BPE as GPT-2's")
        # our files spell a special token behind a barrier, so that nobody can type it
        texts = [str(text).replace(BARRIER, "") for text in ggml["tokens"]]
        kinds = ggml.get("token_type") or [1] * len(texts)
        merges = ggml.get("merges", [])
        if not isinstance(kinds, list) or not isinstance(merges, list) or len(texts) != len(kinds):
            raise InputError(f"{self.path}: its tokens and their kinds are not lists of one length")
        plain = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
        added = [
            {"id": i, "content": text, "special": kind == CONTROL, **plain}
            for i, (text, kind) in enumerate(zip(texts, kinds, strict=True))
            if kind in (CONTROL, USER_DEFINED)
        ]
        vocab = {text: i for i, (text, kind) in enumerate(zip(texts, kinds, strict=True)) if kind != UNUSED}
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        bpe = {"type": "BPE", "vocab": vocab, "merges": merges}
        template = self.metadata.get("tokenizer.chat_template")
        is_ours = isinstance(template, str) and all(token in template for token in SPECIAL_TOKENS)
        tokenizer = {
            "version": "1.0",
            "added_tokens": added,
            "normalizer": WITHOUT_BARRIER if is_ours else None,
            "pre_tokenizer": byte_level,
            "decoder": byte_level,
            "model": bpe,
        }
        template = JINJA_TEMPLATE if is_ours else template  # in the file it has the barriers of the tokens
        named = {f"{end}_token": self.token(texts, ggml.get(f"{end}_token_id")) for end in ("bos", "eos")}
        ends = [ggml[key] for key in ("eos_token_id", "eot_token_id") if isinstance(ggml.get(key), int)]
        files = {
            "tokenizer.json": tokenizer,
            "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template}
            | {name: text for name, text in named.items() if text is not None},
            "generation_config.json": {"eos_token_id": ends, "bos_token_id": ggml.get("bos_token_id")},
        }
        if is_ours:
            files["chat.json"] = {"format": 1}  # model_folder.FORMAT
        return files

    @staticmethod
    def token(texts: list[str], token_id: object) -> str | None:
        """The text of a token, if there is one of this id."""
        return texts[token_id] if isinstance(token_id, int) and 0 <= token_id < len(texts) else None


def is_gguf(path: Path) -> bool:
    """Whether this is a GGUF file, by its name or its first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return path.suffix == ".gguf" or file.read(4) == b"GGUF"


def read_gguf(path: Path) -> tuple[Weights, GPTConfig]:
    """(weights, shape) of a GGUF file. Raises InputError if it is damaged, or not a GPT-2's."""
    return opened(path, path.stat().st_mtime_ns).weights()


def speech_folder(path: Path) -> Path:
    """
    A temporary folder, for as long as this process lives, with the tokenizer, chat template and end tokens of a GGUF
    file as a model folder has them. Raises InputError.
    """
    return unpacked(path, path.stat().st_mtime_ns)


@functools.lru_cache(4)
def opened(path: Path, _changed: int) -> GGUFFile:
    """The file. _changed: when it was written; a newer one is read again."""
    return GGUFFile(path)


@functools.lru_cache(4)
def unpacked(path: Path, changed: int) -> Path:
    """The folder of `speech_folder`, made once for a file."""
    files = opened(path, changed).folder_files()
    folder = Path(tempfile.mkdtemp(prefix="gguf-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8", errors="replace")
    return folder
