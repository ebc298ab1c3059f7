"""What opens and ends a document, or a reply, of a model that another program made: as its folder's files say."""

from pathlib import Path
from typing import TypeGuard

from runtime.json_file import read_json_if_there
from tokenization.added_tokens import named_tokens
from tokenization.tokenizer import Tokenizer

FILES = ("config.json", "generation_config.json")


def end_token_ids(tokenizer: Tokenizer, folder: str | Path | None = None) -> tuple[int, ...]:
    """
    All that ends a text: the eos_token_id of config.json and of generation_config.json, a number or a list each, the
    tokenizer's eos_token, and <|endoftext|>. Other programs disagree on which counts, and folders on what they say.
    """
    ids: list[object] = [tokenizer.endoftext]
    if folder is not None:
        for name in FILES:
            said = read_json_if_there(Path(folder, name)).get("eos_token_id")
            ids += said if isinstance(said, list) else [said]
        ids.append(tokenizer.id_of(named_tokens(folder).get("eos_token", "")))
    return tuple(dict.fromkeys(each for each in ids if is_known(each, tokenizer)))


def opening_ids(tokenizer: Tokenizer, folder: str | Path | None = None) -> tuple[int, ...]:
    """What a document begins with: <|endoftext|>, or a model that has none its bos_token, if any."""
    ids: list[object] = [tokenizer.endoftext]
    if folder is not None:
        ids.append(tokenizer.id_of(named_tokens(folder).get("bos_token", "")))
        ids += [read_json_if_there(Path(folder, name)).get("bos_token_id") for name in FILES]
    return next(((each,) for each in ids if is_known(each, tokenizer)), ())


def is_known(token_id: object, tokenizer: Tokenizer) -> TypeGuard[int]:
    """Whether this is the id of a token that the model was taught."""
    return type(token_id) is int and token_id in tokenizer.bytes and token_id < tokenizer.n_base_vocab
