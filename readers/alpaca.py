"""
Alpaca, single instructions and their answers, as one array or as JSON lines:

    {"instruction": "Translate to German.", "input": "a dog", "output": "ein Hund"}

with `system` and `history` ([["question", "answer"], ...]) if they are there.
"""

from readers import json_rows, rows
from readers.conversations import talk_record

NAME = "Alpaca"
WANTED = '{"instruction": "...", "input": "...", "output": "..."}'


def recognises(head):
    return {"instruction", "output"} <= json_rows.key_paths(head)


def records(source, skipped):
    return rows.records_of_rows(json_rows.read_json_rows(source, skipped), of_row, WANTED, skipped)


def of_row(row, place, skipped):
    said = [("system", row["system"])] if row.get("system") else []
    for question, answer in row.get("history") or []:
        said += [("user", question), ("assistant", answer)]
    asked = [text.strip() for text in (row["instruction"], row.get("input") or "") if text.strip()]
    return talk_record([*said, ("user", "\n\n".join(asked)), ("assistant", row["output"])], place, skipped)
