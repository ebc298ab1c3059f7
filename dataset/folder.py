"""A data folder on disk: meta.json, the tokenizer, and the token files of each split."""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime import atomic
from runtime.errors import InputError
from tokenization import tokenizer as tokenizers
from tokenization.chat_format import parse

FORMAT = 1
SPLITS = ("train", "val")


def open_meta(folder):
    """(meta, tokenizer) of a data folder. Raises InputError that names the command which makes or rewrites it."""
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
        format = meta.get("format") if isinstance(meta, dict) else None
        raise InputError(f"{folder} is of format {format}, this is {FORMAT}; make it anew: {command}")
    try:
        hash, tokens = meta["tokenizer"]["hash"], {name: meta["splits"][name].get("tokens", 0) for name in SPLITS}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / 'meta.json'}: damaged ({error!r}); make it anew: {command}") from None
    tokenizer = tokenizers.load(folder)
    if tokenizer.hash != hash:
        raise InputError(f"{folder}: tokenizer.json is not the one the data were made with; make them anew: {command}")
    for split, n in tokens.items():
        for end, size in (("bin", 2), ("sup", 1)):
            path, wanted = folder / f"{split}.{end}", n * size
            found = path.stat().st_size if path.exists() else 0
            if found != wanted:
                raise InputError(f"{path} has {found:,} bytes, meta.json says {wanted:,}; make it anew: {command}")
    return meta, tokenizer


@dataclass
class Split:
    """ids and supervised, (n,) each, memory-mapped; starts: (conversations + 1,), the last one is n."""

    ids: np.ndarray
    supervised: np.ndarray
    starts: np.ndarray


def open_split(folder, split, tokenizer):
    """The Split called `split` of a data folder that open_meta has checked."""
    arrays = []
    for end, dtype in (("bin", np.uint16), ("sup", np.uint8)):
        path = Path(folder) / f"{split}.{end}"
        arrays.append(np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype))
    starts = np.append(np.flatnonzero(arrays[0] == tokenizer.endoftext), len(arrays[0]))
    return Split(*arrays, starts)


def read_conversations(folder, split):
    """The messages of each conversation in a split of a data folder, as conversation.parsed has them."""
    _, tokenizer = open_meta(folder)
    opened = open_split(folder, split, tokenizer)
    for start, end in itertools.pairwise(opened.starts.tolist()):
        yield parse(opened.ids[start:end].tolist(), tokenizer)
