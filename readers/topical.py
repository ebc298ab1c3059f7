"""
Topical-Chat: one JSON object, {id: {"content": [{"agent": "agent_1", "message": "..."}, ...]}, ...}.
"""

from readers import detokenize
from readers.conversations import two_views
from readers.json_rows import json_items

WANTED = '{"content": [{"agent": "agent_1", "message": "..."}]}'


def rows(source, skipped):
    """Yield (place, row) of one of the files."""
    if not source.head.lstrip().startswith("{"):
        skipped.note("file that is not JSON", source.name)
        return
    for number, (key, row) in enumerate(json_items(source, skipped), 1):
        yield f"{source.name}, item {number} ({key})", row


def of_row(row, place, skipped):
    said = [(turn["agent"], detokenize.as_typed(turn["message"])) for turn in row["content"]]
    return two_views(said, {}, place, skipped)
