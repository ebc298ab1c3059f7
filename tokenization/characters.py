"""nanoGPT's character models: the vocabulary in their meta.pkl, read without executing anything."""

import pickle
from pathlib import Path
from typing import Any, NoReturn

from runtime.errors import InputError
from tokenization.added_tokens import AddedToken

# what a pickle raises that is damaged, or made to do harm
UNREADABLE = (pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError, ValueError, ImportError)
UNREADABLE += (OverflowError, RecursionError, MemoryError)


class PlainUnpickler(pickle.Unpickler):
    """Reads dicts, lists, texts and numbers; a pickle that names any class or function is refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it needs {module}.{name}")


def read_meta(path: str | Path) -> tuple[dict[bytes, int], dict[str, AddedToken]]:
    """
    (the ASCII characters as bytes -> ids, the other characters as added words) of a meta.pkl, which has all of them in
    stoi. Raises InputError if it is damaged, or holds anything else.
    """
    try:
        with open(path, "rb") as file:
            content: Any = PlainUnpickler(file).load()
        ids = content["stoi"]
        if not ids or sorted(ids.values()) != list(range(len(ids))):
            raise ValueError("its ids are not 0, 1, 2, ...")
        if not all(isinstance(text, str) and len(text) == 1 for text in ids):
            raise ValueError("its tokens are not single characters")
        plain = {text.encode(): token_id for text, token_id in ids.items() if text.isascii()}
        others = {text: AddedToken(token_id, special=False) for text, token_id in ids.items() if not text.isascii()}
        for text in others:
            text.encode()  # a lone surrogate is no character
    except UNREADABLE as error:
        raise InputError(f"{path}: refused, not the meta.pkl of a character model of nanoGPT ({error})") from None
    return plain, others
