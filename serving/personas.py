"""
Personas: who the bot is, as a line of text, or a file of them.

    i have a garden. i grow tomatoes and beans.
    [Bot]: hello! i was just watering the beans. how are you?

What stands before the bot's tag is the system message; what stands behind it, if there is any, the bot says first.
"""

import functools
from pathlib import Path
from typing import NamedTuple

from runtime.errors import InputError
from tokenization.chat_format import Message
from tokenization.special_tokens import ROLE_TAGS

FOLDER = Path(__file__).parents[1] / "personas"
FROM_FILE = "FILE:"  # begins a persona that is the name of a file


class Persona(NamedTuple):
    """A persona that comes with the project."""

    name: str
    text: str  # the system message
    first: str  # what the bot says first; empty: it waits


def names() -> list[str]:
    """The personas that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


@functools.cache
def offered() -> list[Persona]:
    """The personas that come with the project, read once."""
    return [Persona(name, *split(read(name))) for name in names()]


def split(text: str) -> tuple[str, str]:
    """(the system message, what the bot says first) of a persona's file."""
    text, _, first = text.partition(ROLE_TAGS["assistant"])
    return text.strip(), first.strip()


def opening(text: str | None) -> list[Message]:
    """
    The messages that a chat with this persona starts from. text: what it is, or FILE: and a path or a name in
    personas/. Raises InputError if there is no such file.
    """
    text, first = (text or "").strip(), ""
    if text.startswith(FROM_FILE):
        text, first = split(read(text.removeprefix(FROM_FILE).strip()))
    parts = (("system", text), ("assistant", first))
    return [{"role": role, "content": content} for role, content in parts if content]


def read(name: str) -> str:
    """The text of a persona's file, or of the persona of that name in personas/."""
    path = FOLDER / f"{name}.txt" if name in names() else Path(name).expanduser()
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8") from None
    except (OSError, ValueError):
        raise InputError(f"there is no persona in {path}; name a file, or one of {', '.join(names())}") from None
