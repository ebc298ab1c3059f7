"""
`messages`, as OpenAI's fine-tuning takes them and most sets of AI conversations have them (SmolTalk, UltraChat):

    {"messages": [{"role": "system", "content": "..."}, {"role": "user", "content": "hi"}, ...]}

on a line each, or as one array. The list may also be named `conversations`, or be the whole line.
"""

from readers import json_rows, rows
from readers.conversations import talk_record

NAME = "OpenAI messages"
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
WANTED = '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'


def recognises(head):
    paths = json_rows.key_paths(head)
    bare = head.lstrip().startswith("[") and json_rows.is_json_lines(head)
    names = ("messages.item.", "conversations.item.", *([""] if bare else []))
    return any({f"{name}role", f"{name}content"} <= paths for name in names)


def records(source, skipped):
    return rows.records_of_rows(json_rows.read_json_rows(source, skipped), of_row, WANTED, skipped)


def of_row(row, place, skipped):
    messages = row if isinstance(row, list) else row["conversations"] if "messages" not in row else row["messages"]
    said = []
    for message in messages:
        role = ROLES.get(str(message["role"]))
        if role is None:  # tool, function
            skipped.note(f"message by role {str(message['role'])[:20]!r}", place)
        elif message.get("tool_calls") or message.get("function_call"):
            skipped.note("tool call", place)
        else:
            said.append((role, words(message["content"], place, skipped)))
    return talk_record(said, place, skipped)


def words(content, place, skipped):
    """The text of a content: a string, or parts, of which those without text (images, sound) are left out."""
    if isinstance(content, str) or content is None:
        return content or ""
    for part in content:
        if not isinstance(part.get("text"), str):
            skipped.note(f"part of type {str(part.get('type'))[:20]!r}", place)
    return "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))
