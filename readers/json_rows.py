"""
The rows of a JSON file, one at a time, each with its place: an array (`chats.json, item 17`), JSON lines
(`chats.jsonl:17`) or a single object. Of the first two never the whole file is in memory.
"""

import codecs
import json
from collections.abc import Iterable, Iterator
from typing import Any

import ijson

from readers.source import UNREADABLE, Skipped, Source

# lists and objects within each other, of which exports have ten; on an endless "[[[[" the memory that ijson.items takes
# grows by the square of the depth
MAX_DEPTH = 100


class TooDeep(ValueError):
    """More than MAX_DEPTH lists and objects within each other."""


def json_items(source: Source, skipped: Skipped) -> Iterator[tuple[str | None, Any]]:
    """
    Yield (key, value) of a JSON object, its lists item by item under their key; of a JSON list (None, item).
    It ends at a place that cannot be read, which is skipped.broken: nothing after it can be understood.
    """
    number = 0
    try:
        with source.open() as file:
            # use_float refuses whole numbers beyond 64 bits; without it one of 4,300 digits ends Python (ijson 3.6)
            for pair in build_items(ijson.basic_parse(as_utf8(file), use_float=True)):
                number += 1
                yield pair
        return
    except UNREADABLE as error:
        reason = f"a whole file, this one is damaged ({error})"
    except (ijson.JSONError, ArithmeticError, ValueError) as error:  # numbers out of range, bytes that are not text
        reason = f"valid JSON, but item {number + 1} is not ({one_line(error)})"
    skipped.broken(f"{source.name}:{number + 1}", f"wanted {reason}")


def one_line(error: Exception) -> str:
    """The message of a JSON error: yajl gives bytes at times, and a drawing on the lines below the first."""
    text = error.args[0] if error.args else error
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(error)
    return text.strip().partition("\n")[0][:100]


class Recoded:
    """A UTF-16 file, read as UTF-8 bytes."""

    def __init__(self, file: Any) -> None:
        self.file, self.decoder = file, codecs.getincrementaldecoder("utf-16")()

    def read(self, size: int) -> bytes:
        at_end, text = False, ""
        while not at_end and not text and size:  # half a character gives no text yet, and b"" would mean the end
            data = self.file.read(size)
            at_end = not data
            text = self.decoder.decode(data, final=at_end)
        return text.encode("utf-8")


def as_utf8(file: Any) -> Any:
    """The binary file, without its byte order mark and, if it is UTF-16, read as UTF-8."""
    start = file.peek(4)[:3]
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return Recoded(file)
    if start == codecs.BOM_UTF8:
        file.read(3)
    return file


def build_items(events: Iterable[tuple[str, Any]]) -> Iterator[tuple[str | None, Any]]:
    """Yield the pairs of json_items from ijson's events."""
    # the lists and objects that are open around `here`, each with the key at which we are in it, and whether its values
    # are yielded
    outer: list[tuple[Any, str | None, bool]] = []
    here: Any = None
    key: str | None = None
    yields_values = True
    for event, value in events:
        if event == "map_key":
            key = value
            continue
        is_new = True  # not the end of a list whose items have been yielded one by one
        if event in ("start_map", "start_array"):
            if len(outer) == MAX_DEPTH:
                raise TooDeep(f"nested more than {MAX_DEPTH} deep")
            outer.append((here, key, yields_values))
            # yielded are the values of the outermost list or object, and those of the lists directly in that object
            yields_values = len(outer) == 1 or (len(outer) == 2 and event == "start_array" and isinstance(here, dict))
            here = {} if event == "start_map" else []
            if not yields_values or len(outer) == 1:
                key = None
            continue
        if event in ("end_map", "end_array"):
            is_new, value = not yields_values, here
            here, key, yields_values = outer.pop()
        if yields_values:
            if is_new:
                yield key, value
        elif isinstance(here, dict):
            here[key] = value
        else:
            here.append(value)


WRAPPERS = ("conversations", "data", "rows", "chats")  # {"conversations": [row, ...]}
MAX_RECOGNISED_DEPTH = 30  # lists and objects within each other at which key_paths stops; no layout has so many


def read_json_rows(source: Source, skipped: Skipped) -> Iterator[tuple[str, Any]]:
    """Yield (place, row) of an array, of JSON lines, of an object's list of rows, or of a single object."""
    head = source.head
    wrapper = None if head.lstrip().startswith("[") else wrapper_of(all_key_paths(head))
    if wrapper is None and is_json_lines(head):
        return rows_of_lines(source, skipped)
    return rows_of_array(source, wrapper, skipped)


def is_json_lines(head: str) -> bool:
    """Whether each line is a value of its own: the first line is complete, and is an object or not the only line."""
    first, _, rest = head.lstrip().partition("\n")
    try:
        return isinstance(json.loads(first), dict) or bool(rest.strip())
    except (ValueError, RecursionError):
        return first.rstrip().endswith("}") and rest.lstrip().startswith("{")  # a broken line among lines


def rows_of_lines(source: Source, skipped: Skipped) -> Iterator[tuple[str, Any]]:
    for number, line in source.lines(skipped):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                skipped.broken(f"{source.name}:{number}", f"not JSON ({error})")
                continue
            yield f"{source.name}:{number}", row


def rows_of_array(source: Source, wrapper: str | None, skipped: Skipped) -> Iterator[tuple[str, Any]]:
    """The items of an array, or of the list of an object under the key `wrapper`; else the object is the only row."""
    if wrapper or source.head.lstrip().startswith("["):
        number = 0
        for key, item in json_items(source, skipped):
            if key == wrapper:
                number += 1
                yield f"{source.name}, item {number}", item
        return
    try:
        row = json.loads(source.text())
    except (ValueError, RecursionError) as error:
        skipped.broken(source.name, f"not JSON ({error})")
        return
    yield source.name, row


def key_paths(head: str) -> set[str]:
    """
    The paths of keys in the head of a JSON file, which may be cut anywhere: {"messages.item.role", ...}. They are the
    same whether the rows are items of an array, of an object's list, or lines. Empty for what is not JSON.
    """
    paths = all_key_paths(head)
    wrapper = wrapper_of(paths)
    return paths if wrapper is None else {path.removeprefix(f"{wrapper}.item.") for path in paths}


def wrapper_of(paths: set[str]) -> str | None:
    """The key of an object under which its rows stand, which have lists or objects in them; None if it is a row."""
    for name in WRAPPERS:
        of_items = [path.removeprefix(f"{name}.item.") for path in paths if path.startswith(f"{name}.item.")]
        is_turn = {"role", "from", "sender"} & set(of_items)
        if any("." in path for path in of_items) and not is_turn:
            return name
    return None


def all_key_paths(head: str) -> set[str]:
    paths: set[str] = set()
    at: list[str] = []  # of the objects and lists that are open: the key at which we are, "item" in a list
    head = head.lstrip()
    try:
        events = ijson.basic_parse(head.encode("utf-8", "replace"), multiple_values=True, use_float=True)
        for event, value in events:
            if event == "map_key":
                at[-1] = value
                paths.add(".".join(at[at[0] == "item" :]))
            elif event.startswith("start_"):
                at.append("item" if event == "start_array" else "")
            elif event.startswith("end_"):
                at.pop()
            if len(at) > MAX_RECOGNISED_DEPTH:
                break
    except (ijson.JSONError, ValueError, ArithmeticError):
        pass  # it is cut, or is not JSON any more: what was seen stands
    return paths
