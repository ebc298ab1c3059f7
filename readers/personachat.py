"""
PersonaChat in each of its layouts, as records with the persona for the system message:

    ParlAI's lines              see parlai.py; with both personas known, a dialogue gives both views
    nested rows                 {"personality": [...], "utterances": [{"history": [...], "candidates": [..., gold]}]}
    flat rows                   {"conv_id": 0, "utterance_idx": 0, "personality": [...], "history": [...], ...}

A local file is recognised by its content: lines, JSON, JSON lines or parquet.
"""

import itertools
import json
from pathlib import Path

from readers import parlai
from readers.parlai import of_dialogues, view
from runtime.errors import InputError


def records(source, skipped):
    """Yield records from a local file. Raises InputError with the line where there is one."""
    path = Path(source)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"{source}: {what}; --source takes a file of ParlAI's lines, JSON, JSON lines or parquet")
    with open(path, "rb") as file:
        start = file.read(4096)
    if start.startswith(b"PAR1"):
        from pyarrow import ArrowException, parquet

        try:
            rows = parquet.read_table(path).to_pylist()
        except (ArrowException, OSError) as error:
            raise InputError(f"{source}: damaged parquet ({error})") from None
        yield from of_rows(rows, source, skipped)
        return
    text = start.decode("utf-8-sig", errors="replace").lstrip()
    try:
        if parlai.recognises(text.partition("\n")[0]):
            with open(path, encoding="utf-8-sig") as file:
                yield from of_dialogues(parlai.dialogues(file, source), skipped)
        elif text[:1] in ("{", "["):
            for rows in json_splits(path):
                yield from of_rows(rows, source, skipped)
        else:
            raise InputError(
                f"{source}: not PersonaChat: wanted ParlAI's lines ('1 your persona: ...'), JSON or parquet"
            )
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def json_splits(path):
    """Lists of rows: of a JSON file (one list, or lists under the names of splits) or of JSON lines."""
    text = path.read_text(encoding="utf-8-sig")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = []
        for at, line in enumerate(text.split("\n"), 1):  # not splitlines: U+2028 may stand within JSON
            try:
                content += [json.loads(line)] if line.strip() else []
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}:{at}: not JSON ({error})") from None
    if isinstance(content, dict) and "personality" not in content:
        return [rows for rows in content.values() if isinstance(rows, list)]
    return [[content] if isinstance(content, dict) else content]


def of_rows(rows, where, skipped):
    """Records of the nested or flat rows of one split, a dialogue from its last row, which holds the most of it."""

    def conv_id(numbered):
        at, row = numbered
        return row["conv_id"] if isinstance(row, dict) and "conv_id" in row else f"row {at}"

    for _, numbered in itertools.groupby(enumerate(rows, 1), conv_id):
        *_, (at, row) = numbered
        try:
            persona, said, first = dialogue(row)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise InputError(
                f"{where}, row {at}: not a dialogue ({error!r}); wanted personality, utterances or conv_id, history"
            ) from None
        yield from view(persona, said, first, skipped)


def dialogue(row):
    """
    (persona, what was said, the role of who began) of a row. The last candidate is the gold reply, the bot's; without
    candidates only the history is known, which the partner began.
    """
    last = row if "history" in row and "conv_id" in row else row["utterances"][-1]
    gold = (last.get("candidates") or [])[-1:]
    persona, said = row["personality"], [*last["history"], *gold]
    if not isinstance(persona, list) or not all(isinstance(text, str) for text in [*persona, *said]):
        raise TypeError("personality, history and candidates are lists of text")
    return persona, said, "assistant" if gold and len(said) % 2 else "user"
