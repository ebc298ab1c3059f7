"""
A JSON file of any size, item by item, through ijson.
"""

import codecs
import decimal
import io

import ijson

from readers import DAMAGED

DEEPEST = 100  # exports have ten levels; of an endless "[[[[" ijson.items takes memory by the square of the depth


class TooDeep(ValueError):
    """More than DEEPEST lists and objects within each other."""


def items(source, skipped):
    """
    Yield (key, value) of a JSON object, its lists item by item under their key; of a JSON list (None, item).
    A place that cannot be read goes to skipped.broken and ends it, as nothing after it can be understood.
    """
    number = 0
    try:
        with source.open() as file:
            for pair in built(ijson.basic_parse(as_utf8(file))):
                number += 1
                yield pair
        return
    except DAMAGED as error:
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
        self.text = io.TextIOWrapper(file, encoding="utf-16", newline="")

    def read(self, size):
        return self.text.read(size).encode("utf-8", "surrogatepass")


def as_utf8(file):
    """The binary file without byte order mark, UTF-16 recoded."""
    start = file.peek(4)[:3]
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return Recoded(file)
    if start == codecs.BOM_UTF8:
        file.read(3)
    return file


def built(events):
    """The pairs of `items` from ijson's (event, value)s."""
    stack, keys = [], []  # the lists and objects that are open, and the last key of each
    for event, value in events:
        if event == "map_key":
            keys[-1] = value
            continue
        if event in ("start_map", "start_array"):
            stack.append({} if event == "start_map" else [])
            keys.append(None)
            if len(stack) > DEEPEST:
                raise TooDeep(f"nested more than {DEEPEST} deep")
            continue
        if event in ("end_map", "end_array"):
            value = stack.pop()
            keys.pop()
        elif isinstance(value, decimal.Decimal):
            value = float(value)  # not ijson's use_float, which refuses whole numbers beyond 64 bits
        depth = len(stack)
        if depth == 0:
            if not isinstance(value, dict | list):
                yield None, value
        elif depth == 1 and isinstance(stack[0], list):
            yield None, value
        elif depth == 1 and event != "end_array":
            yield keys[0], value
        elif depth == 2 and isinstance(stack[0], dict) and isinstance(stack[1], list):
            yield keys[0], value
        elif depth == 1:
            pass  # a list whose items were yielded
        elif isinstance(stack[-1], dict):
            stack[-1][keys[-1]] = value
        else:
            stack[-1].append(value)
