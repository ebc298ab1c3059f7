"""
The rows of a JSON file, one at a time, each with its place: an array (`chats.json, item 17`), JSON lines
(`chats.jsonl:17`) or a single object. Of the first two never the whole file is in memory.
"""

import codecs
import json

import ijson

from readers.source import UNREADABLE

MAX_DEPTH = 100  # exports have ten levels; of an endless "[[[[" ijson.items takes memory by the square of the depth


class TooDeep(ValueError):
    """More than MAX_DEPTH lists and objects within each other."""


def json_items(source, skipped):
    """
    Yield (key, value) of a JSON object, its lists item by item under their key; of a JSON list (None, item).
    A place that cannot be read goes to skipped.broken and ends it, as nothing after it can be understood.
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


def one_line(error):
    """What a JSON error says: bytes at times, and on the lines below yajl draws a picture."""
    text = error.args[0] if error.args else error
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(error)
    return text.strip().partition("\n")[0][:100]


class Recoded:
    """A UTF-16 file, read as UTF-8 bytes."""

    def __init__(self, file):
        self.file, self.decoder = file, codecs.getincrementaldecoder("utf-16")()

    def read(self, size):
        data, text = True, ""
        while data and not text and size:  # half a character gives no text yet, and b"" would mean the end
            data = self.file.read(size)
            text = self.decoder.decode(data, final=not data)
        return text.encode("utf-8")


def as_utf8(file):
    """The binary file without byte order mark, UTF-16 recoded."""
    start = file.peek(4)[:3]
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return Recoded(file)
    if start == codecs.BOM_UTF8:
        file.read(3)
    return file


def build_items(events):
    """The pairs of `items` from ijson's (event, value)s."""
    outer = []  # the (list or object, key in it, whether its values are pairs) that are open around `here`
    here, key, gives = None, None, True
    for event, value in events:
        if event == "map_key":
            key = value
            continue
        is_new = True  # a value that was not yielded already, as the items of a list under a key were
        if event in ("start_map", "start_array"):
            if len(outer) == MAX_DEPTH:
                raise TooDeep(f"nested more than {MAX_DEPTH} deep")
            outer.append((here, key, gives))
            # pairs come from the outermost list or object, and from the lists right under the keys of that object
            gives = len(outer) == 1 or (len(outer) == 2 and event == "start_array" and isinstance(here, dict))
            here = {} if event == "start_map" else []
            if not gives or len(outer) == 1:
                key = None
            continue
        if event in ("end_map", "end_array"):
            is_new, value = not gives, here
            here, key, gives = outer.pop()
        if gives:
            if is_new:
                yield key, value
        elif isinstance(here, dict):
            here[key] = value
        else:
            here.append(value)


MAX_RECOGNISED_DEPTH = 30  # lists and objects within each other, more than any layout has


def read_json_rows(source, skipped):
    """Yield (place, row) of an array, of JSON lines or of a single object."""
    return rows_of_lines(source, skipped) if is_json_lines(source.head) else rows_of_array(source, skipped)


def is_json_lines(head):
    """Whether each line is a value of its own: the first is whole, and is an object or not the only line."""
    first, _, rest = head.lstrip().partition("\n")
    try:
        return isinstance(json.loads(first), dict) or bool(rest.strip())
    except (ValueError, RecursionError):
        return first.rstrip().endswith("}") and rest.lstrip().startswith("{")  # a broken line among lines


def rows_of_lines(source, skipped):
    for number, line in source.lines():
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                skipped.broken(f"{source.name}:{number}", f"not JSON ({error})")
                continue
            yield f"{source.name}:{number}", row


def rows_of_array(source, skipped):
    """The items of an array; an object that fills more than a line is the only row."""
    if source.head.lstrip().startswith("["):
        for number, (_, item) in enumerate(json_items(source, skipped), 1):
            yield f"{source.name}, item {number}", item
        return
    try:
        row = json.loads(source.text())
    except (ValueError, RecursionError) as error:
        skipped.broken(source.name, f"not JSON ({error})")
        return
    yield source.name, row


def key_paths(head):
    """
    The paths of keys in the head of a JSON file, which may be cut anywhere: {"messages.item.role", ...}. Those of an
    array's items and of each of the lines are told alike. Empty for what is not JSON.
    """
    found, at = set(), []  # at: the key of each object, and "item" for each list, that is open
    head = head.lstrip()
    try:
        events = ijson.basic_parse(head.encode("utf-8", "replace"), multiple_values=True, use_float=True)
        for event, value in events:
            if event == "map_key":
                at[-1] = value
                found.add(".".join(at[at[0] == "item" :]))
            elif event.startswith("start_"):
                at.append("item" if event == "start_array" else "")
            elif event.startswith("end_"):
                at.pop()
            if len(at) > MAX_RECOGNISED_DEPTH:
                break
    except (ijson.JSONError, ValueError, ArithmeticError):
        pass  # it is cut, or is not JSON any more: what was seen stands
    return found
