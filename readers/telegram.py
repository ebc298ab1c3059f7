"""
Telegram Desktop's `result.json` ("machine-readable JSON"), of one chat or of a whole account:

    {"name": "Ann", "type": "personal_chat", "id": 7, "messages": [
        {"id": 1, "type": "message", "date": "2021-12-31T23:59:59", "date_unixtime": "1640995199",
         "from": "Ann", "from_id": "user7", "text": ["see ", {"type": "link", "text": "example.org"}]}, ...]}
    {"about": ..., "personal_information": ..., "chats": {"about": ..., "list": [a chat as above, ...]}}

Text is a string, or a list of strings and of entities that hold a text each. A deleted account has "from": null.
"""

import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import ijson

from readers.json_rows import MAX_DEPTH, as_utf8
from readers.people import People
from readers.source import LogMessage, Skipped, Source
from readers.timestamps import parse_timestamp
from runtime.errors import InputError

NAME = "Telegram"

KIND = re.compile(
    r'"type"\s*:\s*"(?:personal_chat|bot_chat|saved_messages|replies|verify_codes'
    r'|(?:private|public)_(?:group|supergroup|channel))"'
)
ACCOUNT = re.compile(r'"personal_information"\s*:\s*\{|"(?:left_)?chats"\s*:\s*\{\s*"about"')
SINGLE = re.compile(r'"messages"\s*:\s*\[')
MEDIA = {"photo", "file", "media_type", "poll", "location_information", "contact_information", "sticker_emoji"}
MEDIA |= {"game_title", "invoice_information", "giveaway_information", "paid_media", "todo_list", "dice"}
PLACES = {("messages",), ("chats", "list", None, "messages"), ("left_chats", "list", None, "messages")}


def recognises(head: str) -> bool:
    if not head.lstrip().startswith("{"):
        return False
    return bool(ACCOUNT.search(head) or (KIND.search(head) and SINGLE.search(head)))


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    """Yield the messages of all chats; `line` counts the messages of the file. Raises InputError."""
    people, number = People(), 0
    try:
        with source.open() as file:
            # use_float: without it ijson 3.6 crashes, with no exception, on an integer of more than 4,300 digits
            for chat, item in chat_items(ijson.basic_parse(as_utf8(file), use_float=True)):
                number += 1
                message = message_of(item, chat, number, people, f"{source.name}:{number}", skipped)
                if message:
                    yield message
        if number == 0:
            skipped.broken(source.name, 'expected a Telegram export with "messages", there are none')
    except InputError:  # a ValueError as well
        raise
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        skipped.broken(f"{source.name}:{number + 1}", f"expected message {number + 1}, the file is damaged ({error})")
    except (ijson.JSONError, ArithmeticError, ValueError) as error:  # a number out of range, bytes that are not text
        reason = str(error).partition("\n")[0].strip()[:100]  # yajl draws a picture on the lines below
        skipped.broken(f"{source.name}:{number + 1}", f"expected valid JSON after message {number} ({reason})")


def chat_items(events: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield (name of the chat, message as in the file) from ijson's events; holds one message at a time."""
    keys: list[str | None] = []  # of the objects that are open, the key at which we are; None for an open list
    chat: dict[str | None, Any] = {}  # the fields of the chat that stand before its messages
    taken: dict[str, Any] = {}  # name of a chat -> its id
    label = ""  # name of the chat
    built: list[Any] = []  # the open lists and objects of a message
    for event, value in events:
        if event == "map_key":
            keys[-1] = value
            continue
        if event in ("start_map", "start_array"):
            if len(keys) == MAX_DEPTH:
                raise ijson.JSONError(f"nested more than {MAX_DEPTH} deep")
            if built:
                built.append(put(built[-1], keys[-1], {} if event == "start_map" else []))
            elif keys and keys[-1] is None and tuple(keys[:-1]) in PLACES:
                label = label or label_of(chat, taken)
                if event == "start_map":
                    built.append({})
                else:
                    yield label, []
            elif keys == [] or keys[1:] == ["list", None]:
                chat, label = {}, ""
            keys.append(None)
        elif event in ("end_map", "end_array"):
            keys.pop()
            if built:
                item = built.pop()
                if not built:
                    yield label, item
        elif built:
            put(built[-1], keys[-1], value)
        elif len(keys) == 1 or keys[1:-1] == ["list", None]:
            chat[keys[-1]] = value
        elif keys and keys[-1] is None and tuple(keys[:-1]) in PLACES:
            yield label, value


def put(container: Any, key: str | None, value: Any) -> Any:
    """Put the value into an object or at the end of a list; returns it."""
    if isinstance(container, dict):
        container[key] = value
    else:
        container.append(value)
    return value


def label_of(chat: dict[str | None, Any], taken: dict[str, Any]) -> str:
    """A name for the chat that no other chat of the file has. taken: name -> id, to which it is added."""
    name, chat_id = str(chat.get("name") or chat.get("type") or "chat"), chat.get("id")
    while taken.setdefault(name, chat_id) != chat_id:
        name = f"{name} ({chat_id})"
    return name


def message_of(item: Any, chat: str, number: int, people: People, place: str, skipped: Skipped) -> LogMessage | None:
    """The message of one item, or None, noted."""
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        skipped.broken(place, 'a message is {"type": "message", "from": ..., "text": ...}')
        return None
    if item["type"] != "message":
        skipped.note("service message" if item["type"] == "service" else "unsupported message", place)
        return None
    text, media = text_of(item), not MEDIA.isdisjoint(item)
    if text is None:
        skipped.broken(place, '"text" must be text, or a list of texts and of {"type": ..., "text": ...}')
        return None
    if not text.strip():
        skipped.note("media" if media else "empty message", place)
        return None
    name, user_id = item.get("from"), item.get("from_id")
    if not isinstance(name, str | None) or not isinstance(user_id, str | int | None):
        skipped.broken(place, '"from" must be a name or null, "from_id" text or a number')
        return None
    if not name and not user_id:
        skipped.note("message without a sender", place)
        return None
    if media:
        skipped.note("media, its caption kept", place)
    if "forwarded_from" in item:
        skipped.note("forwarded message", place, kept=True)
    time = parse_timestamp(str(item.get("date_unixtime") or item.get("date") or ""))
    speaker = people.named(str(user_id or name), name, "Deleted Account")
    return LogMessage(speaker, text.strip(), time, chat, number)


def text_of(item: dict[str, Any]) -> str | None:
    """The whole text of a message, its entities joined; None where it is something else."""
    parts = item.get("text", item.get("text_entities", ""))
    if isinstance(parts, str):
        return parts
    if not isinstance(parts, list):
        return None
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    strings = [text for text in texts if isinstance(text, str)]
    return "".join(strings) if len(strings) == len(texts) else None
