"""
Rows with a list of turns, as nearly all data sets and exports of talk with an AI have them under one name or another:

    {"messages": [{"role": "user", "content": "hi"}, ...]}    {"conversations": [{"from": "human", "value": "hi"}, ...]}

What a data set marks as not to be learned is not: a turn of weight 0 is read but not supervised, and a row whose label
is false (KTO: a bad answer) is left out.
"""

from collections.abc import Iterator
from typing import Any

from readers import rows
from readers.conversations import Turn, talk_record, weight_of
from readers.source import Record, Skipped

LISTS = ("messages", "conversations", "conversation", "chat_messages", "items", "turns", "dialogue", "dialog")
WHO = ("role", "from", "sender", "speaker", "author")
SAID = ("content", "value", "text", "message")
ROLES = {
    **dict.fromkeys(("user", "human", "prompter", "customer"), "user"),
    **dict.fromkeys(("assistant", "gpt", "ai", "model", "bot", "chatgpt", "claude", "gemini", "grok"), "assistant"),
    **dict.fromkeys(("bing", "bard", "chatbot"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
WANTED = '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'


class UnknownWeight(rows.Misfit):
    """The weight of a message is neither 0 nor 1."""


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    """Yield the record of a row, or none, noted. Raises Misfit."""
    if is_bad_answer(row, place, skipped):
        return
    try:
        turns = turns_of(row, place, skipped)
    except UnknownWeight:  # it is noted
        return
    yield from talk_record(turns, place, skipped)


def is_bad_answer(row: Any, place: str, skipped: Skipped) -> bool:
    """Whether the row is labelled as one whose answer is not to be learned; noted."""
    labels = [row.get(name) for name in ("label", "kto_tag")] if isinstance(row, dict) else []
    if any(label is False for label in labels):
        skipped.note("answer labelled as bad", place)
        return True
    return False


def turns_of(row: Any, place: str, skipped: Skipped) -> list[Turn]:
    """The turns of a row, the system message first. Raises Misfit."""
    turns: list[Turn] = []
    if isinstance(row, dict):
        name = next((name for name in LISTS if isinstance(row.get(name), list)), LISTS[0])
        system = row.get("system") or row.get("system_prompt")
        turns = [("system", system)] if isinstance(system, str) else []
        row = rows.required(row, name, list)
    for message in rows.list_of(row, dict):
        turn = turn_of(message, place, skipped)
        if turn:
            turns.append(turn)
    return turns


def turn_of(message: dict[str, Any], place: str, skipped: Skipped) -> Turn | None:
    """A turn, or None, noted, for what is none of the user's, the assistant's or the system's words. Raises Misfit."""
    who = next((name for name in WHO if name in message), "role")
    sender = str(rows.required(message, who, object))
    role = ROLES.get(sender.lower())
    if role is None:  # tool, function_call, observation
        skipped.note(f"message {'by role' if who == 'role' else who} {sender[:20]!r}", place)
        return None
    if message.get("tool_calls") or message.get("function_call"):
        skipped.note("tool call", place)
        return None
    text = text_of(rows.required(message, content_key(message), object), place, skipped)
    weight = weight_of(message, place, skipped)
    if weight is None:
        raise UnknownWeight
    return role, text, weight


def content_key(message: dict[str, Any]) -> str:
    """Which key has the text: the first that is not empty, else the first that is there."""
    names = [name for name in SAID if name in message]
    return next((name for name in names if message[name]), names[0] if names else SAID[0])


def text_of(content: Any, place: str, skipped: Skipped) -> str:
    """The text of a content: a string, null, or a list of parts, of which images and sound are left out."""
    if isinstance(content, str) or content is None:
        return content or ""
    texts = []
    for part in [content] if isinstance(content, dict) else rows.list_of(content, object):
        words = part if isinstance(part, str) else None
        if isinstance(part, dict) and part.get("type", "text") in ("text", "input_text", "output_text"):
            words = next((part[name] for name in ("text", "value", "content") if isinstance(part.get(name), str)), None)
        if words is not None:
            texts.append(words)
        elif part is not None:
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            skipped.note(f"part of type {str(kind)[:20]!r}", place)
    return "\n".join(texts)
