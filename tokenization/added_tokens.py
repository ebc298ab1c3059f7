"""
The tokens that a folder adds to its byte-pair encoding: where its files name them, and how a text is split at them.

Other programs write them in five places: added_tokens of tokenizer.json, added_tokens_decoder of tokenizer_config.json,
added_tokens.json, and the names (eos_token and the like) in tokenizer_config.json and special_tokens_map.json.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from runtime.json_file import read_json_if_there
from tokenization.special_tokens import ENDOFTEXT

NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
MORE_NAMES = ("additional_special_tokens", "extra_special_tokens")
# classes of transformers whose tokens have no names of their own; those of GPT-2's are <|endoftext|>
NAMELESS_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")


LETTER = re.compile(r"\w")  # what a single_word has none of beside it


class AddedToken(NamedTuple):
    """A token that is its letters, whatever the merges would make of them."""

    id: int
    special: bool = True  # not text: nobody can type it, and it is not shown
    lstrip: bool = False  # white space before it belongs to it
    rstrip: bool = False  # and behind it
    single_word: bool = False  # only where no letter adjoins it
    normalized: bool = False  # looked for after those that are not


class Splitter:
    """Cuts texts at added tokens as the `tokenizers` library does: the leftmost first, and of those the longest."""

    def __init__(self, tokens: Mapping[str, AddedToken]) -> None:
        self.tokens = tokens
        groups = [[text for text in tokens if tokens[text].normalized == late and text] for late in (False, True)]
        self.patterns = [
            re.compile("|".join(map(re.escape, sorted(group, key=len, reverse=True)))) for group in groups if group
        ]

    def split(self, text: str) -> list[str | int]:
        """The text in order: pieces of it, and the ids of the tokens between them."""
        pieces: list[str | int] = [text] if text else []
        for pattern in self.patterns:
            parts = [[piece] if isinstance(piece, int) else self.split_at(pattern, piece) for piece in pieces]
            pieces = [part for each in parts for part in each]
        return pieces

    def split_at(self, pattern: re.Pattern[str], text: str) -> Iterator[str | int]:
        end = 0  # of what was yielded
        for match in pattern.finditer(text):
            token, first, last = self.tokens[match.group()], match.start(), match.end()
            if first < end:
                continue
            if token.single_word and any(map(LETTER.match, (text[max(first - 1, 0) : first], text[last : last + 1]))):
                continue
            if token.lstrip:
                first = end + len(text[end:first].rstrip())
            while token.rstrip and text[last : last + 1].isspace():
                last += 1
            if end < first:
                yield text[end:first]
            yield token.id
            end = last
        if end < len(text):
            yield text[end:]


def named_tokens(folder: str | Path) -> dict[str, str]:
    """{"eos_token": "<|endoftext|>", ...}, as a folder's files say, or as transformers takes it where they do not."""
    config = read_json_if_there(Path(folder, "tokenizer_config.json"))
    named = read_json_if_there(Path(folder, "special_tokens_map.json")) | {
        name: config[name] for name in NAMES if config.get(name)
    }
    usual = {} if config.get("tokenizer_class") in NAMELESS_CLASSES else dict.fromkeys(NAMES[:3], ENDOFTEXT)
    return usual | {name: text for name in NAMES if (text := token_text(named.get(name)))}


def token_text(token: object) -> str | None:
    """The spelling of a token that a file names: a text, or a dict that holds it."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) and text else None


def read_added_tokens(
    folder: str | Path, vocab: Mapping[str, int], tokenizer_json: list[dict[str, Any]]
) -> dict[str, AddedToken]:
    """
    All tokens that a folder adds to `vocab`, by their spelling. tokenizer_json: what added_tokens says there. A special
    token that is only named takes the next free id, as transformers has it. Raises what files of another form cause:
    KeyError, TypeError, AttributeError, ValueError.
    """
    config = read_json_if_there(Path(folder, "tokenizer_config.json"))
    decoder = config.get("added_tokens_decoder") or {}
    described = [*tokenizer_json, *({**token, "id": int(token_id)} for token_id, token in decoder.items())]
    added: dict[str, AddedToken] = {}
    for token in described:
        flags = {name: bool(token.get(name)) for name in AddedToken._fields[1:]}
        added.setdefault(token["content"], AddedToken(token["id"], **flags))
    for text, token_id in read_json_if_there(Path(folder, "added_tokens.json")).items():
        added.setdefault(text, AddedToken(token_id, special=False))

    named = read_json_if_there(Path(folder, "special_tokens_map.json")) | config
    names = [named.get(name) for name in NAMES]
    for name in MORE_NAMES:
        more = named.get(name) or []
        names += list(more.values()) if isinstance(more, dict) else more if isinstance(more, list) else [more]
    for text in filter(None, map(token_text, names)):
        if text in added:
            added[text] = added[text]._replace(special=True)
        else:
            free = max([*vocab.values(), *(token.id for token in added.values())]) + 1
            added[text] = AddedToken(vocab.get(text, free))
    if ENDOFTEXT in vocab:
        added.setdefault(ENDOFTEXT, AddedToken(vocab[ENDOFTEXT]))
    return added
