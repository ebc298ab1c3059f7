"""
Single instructions and their answers, as one array or as JSON lines (Alpaca, Dolly, prompt and completion):

    {"instruction": "Translate to German.", "input": "a dog", "output": "ein Hund"}
    {"instruction": "Who?", "context": "Ann called.", "response": "Ann"}         {"prompt": "hi", "completion": "hello"}

with `system` and `history` ([["question", "answer"], ...]) if they are there.
"""

from collections.abc import Iterator
from typing import Any

from readers import json_rows, rows, turn_lists
from readers.conversations import Turn, talk_record
from readers.source import Record, Skipped, Source

NAME = "Alpaca"
WANTED = '{"instruction": "...", "input": "...", "output": "..."}'
QUESTIONS = ("instruction", "prompt", "question", "query", "inputs", "user", "human")
MORE = ("input", "context")  # what an instruction is about
ANSWERS = ("output", "response", "completion", "answer", "targets", "assistant", "bot", "reply")


def recognises(head: str) -> bool:
    paths = json_rows.key_paths(head)
    is_input_alone = {"input", "output"} <= paths and not any("." in path for path in paths)
    return not paths.isdisjoint(ANSWERS) and (not paths.isdisjoint(QUESTIONS) or is_input_alone)


def records(source: Source, skipped: Skipped) -> Iterator[Record]:
    return rows.records_of_rows(json_rows.read_json_rows(source, skipped), records_of_row, WANTED, skipped)


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    if turn_lists.is_bad_answer(row, place, skipped):
        return
    system = rows.optional(row, "system", str)
    turns: list[Turn] = [("system", system)] if system else []
    for exchange in rows.optional_list(row, "history", list):
        if len(rows.list_of(exchange, str)) != 2:
            raise rows.Misfit("history has pairs of a question and an answer")
        turns += zip(("user", "assistant"), exchange, strict=True)
    question, answer = key_of(row, QUESTIONS), key_of(row, ANSWERS)
    if isinstance(row.get(question), list) or isinstance(row.get(answer), list):  # lists of turns
        for name in (question, answer):
            turns += turn_lists.turns_of(rows.required(row, name, list), place, skipped)
    else:
        parts = [rows.required(row, question, str), *(rows.optional(row, name, str) or "" for name in MORE)]
        parts = [part.strip() for part in dict.fromkeys(parts)]
        turns.append(("user", "\n\n".join(part for part in parts if part)))
        turns.append(("assistant", rows.required(row, answer, str)))
    yield from talk_record(turns, place, skipped)


def key_of(row: Any, names: tuple[str, ...]) -> str:
    """The first of the names that the row has. Raises Misfit."""
    if isinstance(row, dict):
        for name in (*names, "input"):
            if name in row and row[name] is not None:
                return name
    raise rows.Misfit(f"none of {', '.join(names)}")
