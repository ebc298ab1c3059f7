"""
Pairs of a better and a worse answer (DPO, reward models), as one array or as JSON lines:

    {"prompt": "2+2?", "chosen": "4", "rejected": "5"}
    {"conversations": [...], "chosen": {"from": "gpt", "value": "4"}, "rejected": {...}}
    {"chosen": [{"role": "user", ...}, {"role": "assistant", ...}], "rejected": [...]}
    {"chosen": "\\n\\nHuman: 2+2?\\n\\nAssistant: 4", "rejected": "..."}

The chosen answer is learned. The rejected one is kept beside it ("rejected"), for training by preference.
"""

from collections.abc import Iterator
from typing import Any

from readers import json_rows, rows, templated, turn_lists
from readers.conversations import Turn, talk_record
from readers.source import Record, Skipped, Source

NAME = "preference pairs (chosen, rejected)"
WANTED = '{"prompt": "...", "chosen": "...", "rejected": "..."}'
QUESTIONS = ("prompt", "instruction", "question", "input", "query")


def recognises(head: str) -> bool:
    return {"chosen", "rejected"} <= json_rows.key_paths(head)


def records(source: Source, skipped: Skipped) -> Iterator[Record]:
    return rows.records_of_rows(json_rows.read_json_rows(source, skipped), records_of_row, WANTED, skipped)


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    before = turns_before(row, place, skipped)
    chosen = answer_of(rows.required(row, "chosen", object), place, skipped)
    rejected = answer_of(row.get("rejected"), place, skipped)
    known = {turn[:2] for turn in before}
    for record in talk_record(before + [turn for turn in chosen if turn[:2] not in known], place, skipped):
        worse = [turn[1].strip() for turn in rejected if turn[0] == "assistant"][-1:]
        if worse and worse[0] and record["messages"][-1]["role"] == "assistant":
            record["rejected"] = worse[0]
        yield record


def turns_before(row: Any, place: str, skipped: Skipped) -> list[Turn]:
    """The turns that both answers follow."""
    if any(isinstance(row.get(name), list) for name in turn_lists.LISTS):
        return turn_lists.turns_of(row, place, skipped)
    system = row.get("system")
    turns: list[Turn] = [("system", system)] if isinstance(system, str) else []
    if isinstance(row.get("prompt"), list):
        return turns + turn_lists.turns_of(row["prompt"], place, skipped)
    texts = [row[name].strip() for name in QUESTIONS if isinstance(row.get(name), str)]
    question = "\n\n".join(text for text in texts if text)
    if question:
        turns += templated.turns_in(question) or [("user", question)]
    return turns


def answer_of(value: Any, place: str, skipped: Skipped) -> list[Turn]:
    """The turns of an answer: a text, a turn, or a list that may repeat what came before."""
    if isinstance(value, str):
        return templated.turns_in(value) or [("assistant", value)]
    return turn_lists.turns_of([value] if isinstance(value, dict) else value or [], place, skipped)
