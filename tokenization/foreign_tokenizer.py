"""Whether a tokenizer that another program wrote works as GPT-2's does, and what it is if not."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from runtime.errors import InputError
from tokenization.special_tokens import WITHOUT_BARRIER

# GPT-2's pattern as other programs write it out
GPT2_PATTERNS = (
    r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
    r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
)
OTHER_TOKENIZERS = {
    "vocab.txt": "a WordPiece tokenizer, BERT's",
    "tokenizer.model": "a SentencePiece tokenizer",
    "spiece.model": "a SentencePiece tokenizer",
    "sentencepiece.bpe.model": "a SentencePiece tokenizer",
}


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has a tokenizer that `load` may read. Raises InputError if it has one of another kind alone."""
    if any((folder / name).exists() for name in ("tokenizer.json", "vocab.json", "meta.pkl")):
        return True
    for name, kind in OTHER_TOKENIZERS.items():
        if (folder / name).exists():
            raise InputError(f"{folder} has {kind} ({name}), not a byte-level BPE as GPT-2's; it cannot be read here")
    return False


def check_gpt2_like(content: dict[str, Any]) -> None:
    """Raise ValueError if a tokenizer.json splits or merges text otherwise than tiktoken does with GPT-2's pattern."""
    model, normalizer = content["model"], content["normalizer"] or {}
    if model.get("type", "BPE") != "BPE":
        raise ValueError(f"it is a {model['type']}")
    if normalizer not in ({}, WITHOUT_BARRIER) and normalizer.get("normalizers") != []:
        raise ValueError("it splits text in another way")
    splitters = [content["pre_tokenizer"] or {}]
    if splitters[0].get("type") == "Sequence":
        splitters = splitters[0]["pretokenizers"]
    *before, splitter = splitters or [{}]
    # some programs write GPT-2's pattern out
    pattern = [before[0].get("pattern"), before[0].get("behavior")] if len(before) == 1 else None
    is_written_out = pattern in [[{"Regex": text}, "Isolated"] for text in GPT2_PATTERNS]
    uses_regex = splitter.get("use_regex", True)
    if splitter.get("type") != "ByteLevel" or not (is_written_out if before else uses_regex) or before and uses_regex:
        raise ValueError("it splits text in another way")
    if splitter["add_prefix_space"]:
        raise ValueError("it puts a space before the text")
    if model.get("end_of_word_suffix") or model.get("continuing_subword_prefix"):
        raise ValueError("it marks the ends of words")
    check_merge_order(model["vocab"], model["merges"])


def check_merge_order(vocab: Mapping[str, int], merges: Iterable[str | list[str]]) -> None:
    """Raise ValueError unless the ids of what the merges make rise, as tiktoken takes for granted."""
    previous = -1
    for merge in merges:
        token_id = vocab["".join(merge.split(" ") if isinstance(merge, str) else merge)]
        if token_id < previous:
            raise ValueError("its ids are not in the order of its merges")
        previous = token_id


def check_ids(ids: list[object]) -> None:
    """Raise ValueError unless these are the ids of as many tokens: whole numbers, each once."""
    odd = [each for each in ids if type(each) is not int or not 0 <= each < 2**31]
    if odd:
        raise ValueError(f"{odd[0]!r} is no id of a token")
    if len(set(ids)) < len(ids):
        raise ValueError("two tokens have the same id")
