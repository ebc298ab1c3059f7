"""
Saved chats: a file each in the user's data folder, readable by nobody else, written whole at every turn.

    {"messages": [{"role": "user", "content": "hi"}, ...], "model": "out-chat", "started": 1764254205}

A file is one such line, the layout of our conversations: data/mychats learns from it as it is.
"""

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from runtime import atomic
from runtime.errors import InputError
from tokenization.chat_format import Message, check_message
from tokenization.special_tokens import ROLE_TAGS

FOLDER = "chats"  # in the data folder
PRIVATE = 0o600  # the owner may read and write


def data_folder() -> Path:
    """The user's data folder for this program."""
    return Path(platformdirs.user_data_dir("nanochatgpt"))


def private_file(path: Path) -> Path:
    """The path, of a file that only its owner may read; it is made, empty, where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE))
    return path


class SavedChat:
    """The file of one chat. path: where it is, None: a new one in the data folder, named after the time."""

    def __init__(self, model: str, path: Path | None = None, started: int | None = None) -> None:
        self.model = model
        self.started = started or int(time.time())
        self.path = path or new_path(self.started)

    def write(self, messages: list[Message]) -> None:
        """Write the chat. A crash at any instant leaves the old file or the new one. Raises OSError."""
        row = {"messages": messages, "model": self.model, "started": self.started}
        write_private(self.path, json.dumps(row, ensure_ascii=False) + "\n")


def new_path(started: int) -> Path:
    """A file that does not exist yet. started: Unix time."""
    stem = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(started))
    folder = data_folder() / FOLDER
    names = (f"{stem}{suffix}.jsonl" for suffix in ("", *(f"_{i}" for i in range(2, 10_000))))
    return next(folder / name for name in names if not (folder / name).exists())


def write_private(path: Path, text: str) -> None:
    """Write a private file, whole or not at all."""
    with atomic.file(path) as new:
        with open(private_file(new), "w", encoding="utf-8", newline="\n") as file:
            file.write(text)


class Read(NamedTuple):
    """What a saved chat holds."""

    messages: list[Message]
    model: str
    started: int  # Unix time


def read(path: Path) -> Read:
    """The chat in the first line of a file. Raises InputError."""
    try:
        with open(path, encoding="utf-8") as file:
            row: Any = json.loads(file.readline())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; chat.py --list shows the chats that are saved") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f'{path}: no chat; a line {{"messages": [...]}} would be ({error})') from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list):
        raise InputError(f'{path}: no chat; a line {{"messages": [...]}} would be')
    checked = [check_message(message, f"{path}, message {i + 1}") for i, message in enumerate(messages)]
    if any(message["role"] == "system" for message in checked[1:]):
        raise InputError(f"{path}: the system message must come first")
    started = row.get("started")
    return Read(checked, str(row.get("model", "")), started if isinstance(started, int) else int(path.stat().st_mtime))


def saved_paths() -> list[Path]:
    """The files of the saved chats, the last one that was written first."""
    files = [path for path in (data_folder() / FOLDER).glob("*.jsonl") if not path.name.startswith(".")]
    return sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def find(name: str) -> Path:
    """The saved chat of this number or name, as --list shows them, or the file of this path. Raises InputError."""
    paths = saved_paths()
    if name.isascii() and name.isdigit() and 1 <= int(name) <= len(paths):
        return paths[int(name) - 1]
    named = [path for path in paths if path.stem == name.removesuffix(".jsonl")]
    path = named[0] if named else Path(name).expanduser()
    if not path.is_file():
        known = f"1 to {len(paths)}, as --list shows them" if paths else "none is saved yet"
        raise InputError(f"there is no chat {name} ({known})")
    return path


class Entry(NamedTuple):
    """A saved chat, as the list shows it."""

    number: int
    when: str
    model: str
    n_messages: int
    begins: str  # with these words of the human's


def entries(word: str = "") -> list[Entry]:
    """The saved chats in which the word is said; what is no chat is left out."""
    rows = []
    for number, path in enumerate(saved_paths(), 1):
        try:
            chat = read(path)
        except InputError:
            continue
        said = [message["content"] for message in chat.messages if message["role"] != "system"]
        if word.lower() in "\n".join(said).lower():
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))
            begins = " ".join((said or [""])[0].split())
            rows.append(Entry(number, when, chat.model, len(said), begins[:80]))
    return rows


def exported(messages: list[Message], ending: str) -> str:
    """The chat as text, or by the file's ending as Markdown (.md) or as a line to learn from (.jsonl)."""
    if ending == ".jsonl":
        return json.dumps({"messages": messages}, ensure_ascii=False) + "\n"
    if ending == ".md":
        names = {"system": "Persona", "user": "Human", "assistant": "Bot"}
        return "\n\n".join(f"**{names[each['role']]}:** {each['content']}" for each in messages) + "\n"
    return "".join(f"{ROLE_TAGS[each['role']]} {each['content']}\n" for each in messages)
