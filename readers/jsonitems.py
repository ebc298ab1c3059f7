"""
A JSON file of any size, item by item, through ijson.
"""

import codecs

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
            # use_float refuses whole numbers beyond 64 bits; without it one of 4,300 digits ends Python (ijson 3.6)
            for pair in built(ijson.basic_parse(as_utf8(file), use_float=True)):
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


def built(events):
    """The pairs of `items` from ijson's (event, value)s."""
    outer = []  # the (list or object, key in it, whether its values are pairs) that are open around `here`
    here, key, gives = None, None, True
    for event, value in events:
        if event == "map_key":
            key = value
            continue
        is_new = True  # a value that was not yielded already, as the items of a list under a key were
        if event in ("start_map", "start_array"):
            if len(outer) == DEEPEST:
                raise TooDeep(f"nested more than {DEEPEST} deep")
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
