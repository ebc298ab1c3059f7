"""
The rows of a JSON file, one at a time, each with its place: an array (`chats.json, item 17`), JSON lines
(`chats.jsonl:17`) or a single object. Of the first two never the whole file is in memory.
"""

import json

import ijson

from readers import jsonitems

DEEPEST = 30  # lists and objects within each other, more than any layout has


def rows(source, skipped):
    """Yield (place, row) of an array, of JSON lines or of a single object."""
    return of_lines(source, skipped) if is_lines(source.head) else of_items(source, skipped)


def is_lines(head):
    """Whether each line is a value of its own: the first is whole, and is an object or not the only line."""
    first, _, rest = head.lstrip().partition("\n")
    try:
        return isinstance(json.loads(first), dict) or bool(rest.strip())
    except (ValueError, RecursionError):
        return first.rstrip().endswith("}") and rest.lstrip().startswith("{")  # a broken line among lines


def of_lines(source, skipped):
    for number, line in source.lines():
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                skipped.broken(f"{source.name}:{number}", f"not JSON ({error})")
                continue
            yield f"{source.name}:{number}", row


def of_items(source, skipped):
    """The items of an array; an object that fills more than a line is the only row."""
    if source.head.lstrip().startswith("["):
        for number, (_, item) in enumerate(jsonitems.items(source, skipped), 1):
            yield f"{source.name}, item {number}", item
        return
    try:
        row = json.loads(source.text())
    except (ValueError, RecursionError) as error:
        skipped.broken(source.name, f"not JSON ({error})")
        return
    yield source.name, row


def paths(head):
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
            if len(at) > DEEPEST:
                break
    except (ijson.JSONError, ValueError, ArithmeticError):
        pass  # it is cut, or is not JSON any more: what was seen stands
    return found
