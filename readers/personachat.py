"""
PersonaChat in each of its layouts, as records with the persona for the system message:

    ParlAI's lines              see parlai.py; with both personas known, a dialogue gives both views
    nested rows                 {"personality": [...], "utterances": [{"history": [...], "candidates": [..., gold]}]}
    flat rows                   {"conv_id": 0, "utterance_idx": 0, "personality": [...], "history": [...], ...}

A local file is recognised by its content: lines, JSON, JSON lines or parquet.
"""

import itertools
import json
import re
from pathlib import Path

from configurator import InputError
from readers import parlai


def records(source, skipped):
    """Yield records from a local file. Raises InputError with the line where there is one."""
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{source}: no such file; --source takes ParlAI's lines, JSON, JSON lines or parquet")
    with open(path, "rb") as file:
        start = file.read(4096)
    if start.startswith(b"PAR1"):
        from pyarrow import parquet

        yield from of_rows(parquet.read_table(path).to_pylist(), source, skipped)
        return
    text = start.decode("utf-8-sig", errors="replace").lstrip()
    try:
        if parlai.recognises(text.partition("\n")[0]):
            with open(path, encoding="utf-8-sig") as file:
                yield from of_dialogues(parlai.dialogues(file, source), skipped)
        elif text[:1] in ("{", "["):
            yield from of_rows(json_rows(path), source, skipped)
        else:
            raise InputError(
                f"{source}: not PersonaChat: wanted ParlAI's lines ('1 your persona: ...'), JSON or parquet"
            )
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def json_rows(path):
    """The rows of a JSON file (a list, or lists under the names of splits) or of JSON lines."""
    text = path.read_text(encoding="utf-8-sig")
    try:
        content = json.loads(text)
    except ValueError:
        content = []
        for at, line in enumerate(text.splitlines(), 1):
            try:
                content += [json.loads(line)] if line.strip() else []
            except ValueError as error:
                raise InputError(f"{path}:{at}: not JSON ({error})") from None
    if isinstance(content, dict) and "personality" not in content:
        content = itertools.chain.from_iterable(rows for rows in content.values() if isinstance(rows, list))
    return [content] if isinstance(content, dict) else content


def of_dialogues(dialogues, skipped):
    """Records of parlai.dialogues: one view of each, and the partner's too if the partner's persona is known."""
    for mine, partners, said in dialogues:
        yield from view(mine, said, "user", skipped)
        if partners:
            yield from view(partners, said, "assistant", skipped)


def of_rows(rows, where, skipped):
    """Records of nested or flat rows, a dialogue from the row that holds the most of it."""
    flat, conv_id = None, None
    for at, row in enumerate(rows, 1):
        try:
            if "utterances" in row:
                yield from view(row["personality"], whole(row["utterances"][-1]), None, skipped)
                continue
            if flat is not None and row["conv_id"] != conv_id:
                yield from view(flat["personality"], whole(flat), None, skipped)
            flat, conv_id = row, row["conv_id"]
        except (KeyError, IndexError, TypeError) as error:
            raise InputError(
                f"{where}, row {at}: lacks {error}; wanted personality and utterances, or history"
            ) from None
    if flat is not None:
        yield from view(flat["personality"], whole(flat), None, skipped)


def whole(row):
    """What was said up to and with the gold reply, the last candidate; without candidates, the history."""
    return [*row["history"], *(row.get("candidates") or [])[-1:]]


def view(persona, said, first, skipped):
    """At most one record: the dialogue as the one with this persona saw it. first: who began; None: the bot ended."""
    if first is None:
        first = "user" if len(said) % 2 == 0 else "assistant"
    roles = itertools.cycle(["user", "assistant"] if first == "user" else ["assistant", "user"])
    talk = [
        {"role": role, "content": cleaned(text)}
        for role, text in zip(roles, said, strict=False)
        if text.strip() != parlai.SILENCE and cleaned(text)
    ]
    if len({message["role"] for message in talk}) < 2:
        skipped["only one of the two speaks"] += 1
        return
    system = " ".join(cleaned(sentence) for sentence in persona if sentence.strip())
    yield {"messages": ([{"role": "system", "content": system}] if system else []) + talk}


def cleaned(text):
    """PersonaChat's tokenised text as people write it: no space before punctuation and 's, none inside brackets."""
    text = re.sub(r"\s+([,.!?;:%)\]])", r"\1", text)
    text = re.sub(r"([(\[$])\s+", r"\1", text)
    text = re.sub(r"(\w)\s+(n't|'(?:s|m|re|ve|ll|d))\b", r"\1\2", text)
    return re.sub(r"\s+", " ", text).strip()
