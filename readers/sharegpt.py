"""
ShareGPT, as people share and train on finished chats with an AI:

    [{"id": "x", "system": "...", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]}]

as one array or as JSON lines.
"""

from readers import json_rows, rows
from readers.conversations import talk_record

NAME = "ShareGPT"
ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "bot", "model"), "assistant"),
    "system": "system",
}
WANTED = '{"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}'


def recognises(head):
    return {"conversations.item.from", "conversations.item.value"} <= json_rows.key_paths(head)


def records(source, skipped):
    return rows.records_of_rows(json_rows.read_json_rows(source, skipped), of_row, WANTED, skipped)


def of_row(row, place, skipped):
    said = [("system", row["system"])] if row.get("system") else []
    for turn in row["conversations"]:
        role = ROLES.get(str(turn["from"]).lower())
        if role is None:  # function_call, observation, tool
            skipped.note(f"message from {str(turn['from'])[:20]!r}", place)
        else:
            said.append((role, turn["value"] or ""))
    return talk_record(said, place, skipped)
