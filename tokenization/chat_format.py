"""
The chat format: a conversation as messages, as ids, and as text. Special tokens are placed here and nowhere else.

    {"messages": [{"role": "system", "content": "you like cheetahs."},
                  {"role": "user", "content": "hi, how are you?"},
                  {"role": "assistant", "content": "great, just back from a run."}]}

As ids this is <|endoftext|>, then for each turn its tag (one id), the ordinary ids of " " + text, and end-of-turn.
`supervised` is 1 on the bot's words and on the end-of-turn that closes them: these are what the model learns to say.

Consecutive messages by one person form one turn, joined by newlines. In a chat between several people the user's
messages have a `name`, and the turn begins with it: "Ann: hi". Whether it does depends on earlier messages only, so
that a prompt is always a prefix of the rendered conversation.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from runtime.errors import InputError
from tokenization.special_tokens import ROLE_TAGS

if TYPE_CHECKING:
    from tokenization.tokenizer import Tokenizer

Message = dict[str, str]  # "role" (a key of ROLE_TAGS), "content", and "name" where several people have the user's role

GREEN, PLAIN = "\033[32m", "\033[0m"  # ANSI codes: green letters, and back to the terminal's own


def check(record: object, place: str = "conversation") -> list[Message]:
    """
    The messages of a record, with their text stripped. All roles must be known, no text empty, a system message first,
    and both sides must speak; else this raises InputError, which names `place` (a file and line, say) and the message.
    """
    messages = record.get("messages") if isinstance(record, dict) else None
    if not isinstance(messages, list) or not messages:
        raise InputError(
            f'{place}: a conversation is {{"messages": [{{"role": ..., "content": ...}}, ...]}}, not empty'
        )
    messages = [check_message(message, f"{place}, message {i + 1}") for i, message in enumerate(messages)]
    for i, message in enumerate(messages):
        if message["role"] == "system" and i > 0:
            raise InputError(f"{place}, message {i + 1}: the system message must come first")
    roles = {message["role"] for message in messages}
    for role in ("user", "assistant"):
        if role not in roles:
            raise InputError(f"{place}: one-sided, no message by the {role}; both sides are needed to learn replies")
    return messages


def check_message(message: object, place: str) -> Message:
    """The message with its text stripped, and with no key but role, content and a name that is not empty."""
    if not isinstance(message, dict) or message.get("role") not in tuple(ROLE_TAGS):  # a tuple: a list has no hash
        raise InputError(f"{place}: role must be one of {', '.join(ROLE_TAGS)}")
    if not isinstance(message.get("content"), str) or not message["content"].strip():
        raise InputError(f"{place}: content must be text, and not empty")
    if not isinstance(message.get("name") or "", str):
        raise InputError(f"{place}: name must be text")
    checked = {"role": message["role"], "content": without_lone_surrogates(message["content"]).strip()}
    if message.get("name") and message["name"].strip():
        checked["name"] = without_lone_surrogates(message["name"]).strip()
    return checked


def without_lone_surrogates(text: str) -> str:
    """The text with U+FFFD in place of each lone surrogate, which JSON can hold and UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def turns(messages: Iterable[Message]) -> list[tuple[str, str]]:
    """
    (role, text) of each turn: consecutive messages by one person are joined by newlines, and a user's name comes
    before the text.
    """
    merged: list[tuple[str, str | None, list[str]]] = []  # role, name, contents
    for message in messages:
        name = message.get("name") if message["role"] == "user" else None
        if merged and merged[-1][:2] == (message["role"], name):
            merged[-1][2].append(message["content"])
        else:
            merged.append((message["role"], name, [message["content"]]))
    return [(role, (f"{name}: " if name else "") + "\n".join(contents)) for role, name, contents in merged]


def render(messages: Iterable[Message], tokenizer: "Tokenizer") -> tuple[list[int], list[int]]:
    """
    The conversation as (ids, supervised), two lists of equal length.
    What is rendered of the first messages is a prefix of what is rendered of the whole conversation, unless the next
    message is by the same person: then it joins the last turn.
    """
    tags = {"system": tokenizer.system, "user": tokenizer.human, "assistant": tokenizer.bot}
    ids, supervised = [tokenizer.endoftext], [0]
    for role, text in turns(messages):
        words = tokenizer.encode(" " + text)
        ids += [tags[role], *words, tokenizer.end_of_turn]
        supervised += [0] + [int(role == "assistant")] * (len(words) + 1)
    return ids, supervised


def prompt(messages: Iterable[Message], tokenizer: "Tokenizer") -> list[int]:
    """The ids that the bot's reply follows: the rendered messages, then the bot's tag."""
    return render(messages, tokenizer)[0] + [tokenizer.bot]


def split_turns(ids: Sequence[int], tokenizer: "Tokenizer") -> Iterator[tuple[str, Sequence[int]]]:
    """Yield (role, its ids from the tag on) for each turn of a rendered conversation; of a document nothing."""
    roles = {tokenizer.system: "system", tokenizer.human: "user", tokenizer.bot: "assistant"}
    starts = [i for i, token_id in enumerate(ids) if token_id in roles]
    for start, end in itertools.pairwise([*starts, len(ids)] if starts else []):
        yield roles[ids[start]], ids[start:end]


def parse(ids: Sequence[int], tokenizer: "Tokenizer") -> list[Message]:
    """
    The messages of a rendered conversation, one for each turn. What `render` merged into a turn stays one message, and
    a user's name is part of its content.
    """
    return [{"role": role, "content": tokenizer.decode(turn[1:]).strip()} for role, turn in split_turns(ids, tokenizer)]


def as_terminal_text(ids: Sequence[int], supervised: Sequence[int], tokenizer: "Tokenizer") -> str:
    """The text of a rendered conversation for a terminal, with the supervised tokens in green."""
    text, is_green = "", 0
    decode = tokenizer.decoder()
    for token_id, learned in zip(ids, supervised, strict=True):
        if learned != is_green:
            text += GREEN if learned else PLAIN
            is_green = learned
        text += "" if token_id == tokenizer.endoftext else decode(token_id)
    return text + decode(None) + (PLAIN if is_green else "")
