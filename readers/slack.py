"""
A Slack export, a folder or zip: users.json beside a folder for each channel, in it a file for each day.

    users.json                   [{"id": "U1", "name": "ann", "profile": {"display_name": "Ann", ...}, ...}, ...]
    general/2021-12-31.json      [{"type": "message", "user": "U1", "text": "hi &lt;3", "ts": "1640946600.000100"}, ...]

Read is what people wrote. Files without messages (users.json, channels.json, ...) are recognised and give none.
`chat` is the channel's folder, the same for all its days. A thread is a chat of its own, which begins with the message
that it answers.
"""

import re
import weakref
from collections.abc import Iterator
from typing import Any

from readers.json_rows import json_items
from readers.people import People
from readers.source import LogMessage, Skipped, Source
from runtime.errors import InputError

NAME = "Slack"
LIST = re.compile(r"\s*\[\s*\{")
DAY = (re.compile(r'"type"\s*:\s*"message"'), re.compile(r'"ts"\s*:\s*"\d{9,11}\.\d+"'))
INDEX = (  # users, channels, groups, dms, mpims; integration_logs
    re.compile(
        r'\s*\[\s*\{\s*"id"\s*:\s*"[A-Z][A-Z0-9]{5,}"(?s:.){0,4000}?"(?:team_id|creator|is_archived|members)"\s*:'
    ),
    re.compile(r'\s*\[\s*\{\s*"user_id"(?s:.){0,2000}?"change_type"\s*:'),
)
USERS = ("users.json", "org_users.json", "../users.json", "../org_users.json")
BY_PEOPLE = (None, "thread_broadcast", "me_message", "file_share")  # subtypes of messages that people write
MARKUP = re.compile(r"<([^<>\n]+)>")
STAMP = re.compile(r"\d{1,12}(?:\.\d+)?", re.ASCII)
# users.json -> its people, for as long as that Source is in use: an export has thousands of days beside one users.json
PEOPLE_OF: weakref.WeakKeyDictionary[Source, People] = weakref.WeakKeyDictionary()


def recognises(head: str) -> bool:
    return is_day(head) or any(index.match(head) for index in INDEX)


def is_day(head: str) -> bool:
    return bool(LIST.match(head)) and all(part.search(head) for part in DAY)


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    """Yield the messages of a channel's day."""
    if not is_day(source.head):
        return
    people = known_people(source, skipped)
    chat = source.name.rpartition("/")[0]
    for number, (_, item) in enumerate(json_items(source, skipped), 1):
        place = f"{source.name}:{number}"
        text = (item.get("text") or "") if isinstance(item, dict) else None  # a file alone may have none
        if not isinstance(item, dict) or not isinstance(item.get("ts"), str) or not isinstance(text, str):
            skipped.broken(place, "wanted a message with ts and text")
        elif item.get("subtype") == "bot_message" or item.get("bot_id") or item.get("user") == "USLACKBOT":
            skipped.note("message by a bot", place)
        elif item.get("subtype") not in BY_PEOPLE:
            skipped.note(f"Slack's own message ({str(item['subtype'])[:40]})", place)
        elif not text.strip():
            skipped.note("file without text" if item.get("files") or item.get("file") else "no text", place)
        elif not isinstance(item.get("user"), str):
            skipped.broken(place, "wanted a message with user")
        else:
            speaker = people.named(item["user"], *wishes(item.get("user_profile")))
            time = float(item["ts"]) if STAMP.fullmatch(item["ts"]) else None
            thread = item.get("thread_ts")  # its first message has it too
            talk = f"{chat}/thread {thread}" if thread else chat
            yield LogMessage(speaker, plain(text, people), time, talk, number, bool(thread))


def known_people(source: Source, skipped: Skipped) -> People:
    """People by the users.json beside the day's folder, or in it; without one, people keep their ids."""
    users = next((source.siblings[name] for name in USERS if name in source.siblings), None)
    if users is None:
        return People()
    try:
        if users not in PEOPLE_OF:
            PEOPLE_OF[users] = people_of(users)
        return PEOPLE_OF[users]
    except InputError:
        if not skipped.keep_going:
            raise
        skipped.note("users.json cannot be read: people keep their ids", users.name)
        return People()


def people_of(users: Source) -> People:
    """The people of a users.json. Raises InputError."""
    people = People()
    for _, user in json_items(users, Skipped()):
        if isinstance(user, dict) and isinstance(user.get("id"), str):
            people.named(user["id"], *wishes(user.get("profile")), user.get("real_name"), user.get("name"))
    return people


def wishes(profile: Any) -> list[Any]:
    """The names of a profile, the one that Slack shows first."""
    return [profile.get(name) for name in ("display_name", "real_name", "name")] if isinstance(profile, dict) else []


def plain(text: str, people: People) -> str:
    """The text as Slack shows it: names for ids, links with their text, < > & for their entities."""
    if "<" in text:
        text = MARKUP.sub(lambda match: shown(match[1], people), text)
    if "&" in text:
        text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")  # & last: &amp;lt; is "&lt;"
    return text


def shown(inside: str, people: People) -> str:
    """How Slack shows <inside>: @U1 or @U1|ann, #C1|general, !here, !subteam^S1|@team, a link or link|text."""
    target, _, label = inside.partition("|")
    if target.startswith("@"):
        user_id = target[1:]
        name = people.names.get(user_id, "").removesuffix(f" ({user_id})")  # the second Ann has her id behind her name
        return name if name not in ("", user_id) else label or "somebody"
    if target.startswith("#"):
        return "#" + (label or target[1:])
    if target.startswith("!"):
        return label if "^" in target and label else "@" + target[1:]
    if not label or target in (label, f"http://{label}", f"https://{label}", f"mailto:{label}", f"tel:{label}"):
        return label or target
    return f"{label} ({target})"
