"""
A data folder on disk, as dataset/prepare.py writes it and train.py reads it.

    data/chitchat/train.bin     ids, uint16; each conversation begins with its <|endoftext|>
    data/chitchat/train.sup     supervised, uint8, one for each id
    data/chitchat/val.bin       the same of the conversations that are kept for validation
    data/chitchat/val.sup
    data/chitchat/tokenizer.json
    data/chitchat/meta.json     format, tokenizer's hash, counts, sources and licences
"""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime import atomic
from runtime.errors import InputError
from tokenization import tokenizer as tokenizers
from tokenization.chat_format import Message, parse
from tokenization.tokenizer import Tokenizer

FORMAT = 1  # of a data folder; a folder of another format must be made anew
SPLITS = ("train", "val")


def open_meta(folder: str | Path) -> tuple[dict[str, Any], Tokenizer]:
    """
    (content of meta.json, tokenizer) of a data folder, whose files are checked against it.
    Raises InputError, which names the command that makes or rewrites the folder.
    """
    folder = Path(folder)
    script = folder / "prepare.py"
    command = f"python {script}" if script.exists() else "python data/chitchat/prepare.py"
    atomic.finish(folder)
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder} has no data (meta.json); make them: {command}") from None
    except ValueError as error:
        raise InputError(f"{folder / 'meta.json'}: damaged ({error}); make it anew: {command}") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        given = meta.get("format") if isinstance(meta, dict) else None
        raise InputError(f"{folder} is of format {given}, this is {FORMAT}; make it anew: {command}")
    try:
        tokenizer_hash = meta["tokenizer"]["hash"]
        n_tokens = {name: meta["splits"][name].get("tokens", 0) for name in SPLITS}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / 'meta.json'}: damaged ({error!r}); make it anew: {command}") from None
    tokenizer = tokenizers.load(folder)
    if tokenizer.hash != tokenizer_hash:
        raise InputError(f"{folder}: tokenizer.json is not the one the data were made with; make them anew: {command}")
    for split, n in n_tokens.items():
        for suffix, item_bytes in (("bin", 2), ("sup", 1)):
            path, expected = folder / f"{split}.{suffix}", n * item_bytes
            size = path.stat().st_size if path.exists() else 0
            if size != expected:
                raise InputError(f"{path} has {size:,} bytes, meta.json says {expected:,}; make it anew: {command}")
    return meta, tokenizer


@dataclass
class Split:
    """The conversations of train or val, one behind another."""

    ids: np.ndarray  # (n,) uint16, memory-mapped
    supervised: np.ndarray  # (n,) uint8, memory-mapped
    starts: np.ndarray  # (conversations + 1,) int64: where each conversation begins, and n


def open_split(folder: str | Path, split: str, tokenizer: Tokenizer) -> Split:
    """The Split called "train" or "val" of a data folder that open_meta has checked."""
    ids = map_file(Path(folder) / f"{split}.bin", np.uint16)
    supervised = map_file(Path(folder) / f"{split}.sup", np.uint8)
    return Split(ids, supervised, starts=np.append(np.flatnonzero(ids == tokenizer.endoftext), len(ids)))


def map_file(path: Path, dtype: type[np.generic]) -> np.ndarray:
    """The file as an array (n,), memory-mapped; an empty file, which cannot be mapped, as an empty array."""
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype)


def read_records(folder: str | Path, split: str) -> Iterator[dict[str, Any]]:
    """
    Yield what a split of a data folder holds: {"messages": ...} of a conversation, as chat_format.parse has them with
    their weights, {"text": ...} of a document, or {"ids": ..., "supervised": ...} of a row of tokens of which some are
    learned, such as a copy drill. Raises InputError as open_meta does.
    """
    _, tokenizer = open_meta(folder)
    for ids, supervised in rows(open_split(folder, split, tokenizer)):
        if messages := parse(ids, tokenizer, supervised):
            yield {"messages": messages}
        elif all(supervised[1:]):
            yield {"text": tokenizer.decode(ids[1:])}
        else:
            yield {"ids": ids[1:], "supervised": supervised[1:]}


def read_conversations(folder: str | Path, split: str) -> Iterator[list[Message]]:
    """Yield the messages of each conversation in a split of a data folder, one for each turn, without weights."""
    _, tokenizer = open_meta(folder)
    return (messages for ids, _ in rows(open_split(folder, split, tokenizer)) if (messages := parse(ids, tokenizer)))


def rows(split: Split) -> Iterator[tuple[list[int], list[int]]]:
    """Yield (ids, supervised) of each conversation."""
    for start, end in itertools.pairwise(split.starts.tolist()):
        yield split.ids[start:end].tolist(), split.supervised[start:end].tolist()
