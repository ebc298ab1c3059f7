"""
The chat format: a conversation as messages, as ids, and as text. Special tokens are placed here and nowhere else.

    {"messages": [{"role": "system", "content": "you like cheetahs."},
                  {"role": "user", "content": "hi, how are you?"},
                  {"role": "assistant", "content": "great, just back from a run."}]}

As ids this is <|endoftext|>, then for each turn its tag (one id), the ordinary ids of " " + text, and end-of-turn.
`supervised` is 1 on the bot's words and on the end-of-turn that closes them: these are what the model learns to say. A
bot's message of "weight" 0, as OpenAI's fine-tuning files have it, is read and not learned.

Consecutive messages by one person form one turn, joined by newlines. In a chat between several people the user's
messages have a `name`, and the turn begins with it: "Ann: hi". Whether it does depends on earlier messages only, so
that a prompt is always a prefix of the rendered conversation.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from runtime.errors import InputError
from tokenization.special_tokens import ROLE_TAGS

if TYPE_CHECKING:
    from tokenization.tokenizer import Tokenizer

# "role" (a key of ROLE_TAGS), "content", "name" where several people have the user's role, and "weight" 0 where what
# the bot says is not to be learned
Message = dict[str, Any]

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
    """The message with its text stripped, and with no key but role, content, a name that has letters, a weight of 0."""
    if not isinstance(message, dict) or message.get("role") not in tuple(ROLE_TAGS):  # a tuple: a list has no hash
        raise InputError(f"{place}: role must be one of {', '.join(ROLE_TAGS)}")
    if not isinstance(message.get("content"), str) or not message["content"].strip():
        raise InputError(f"{place}: content must be text, and not empty")
    if not isinstance(message.get("name") or "", str):
        raise InputError(f"{place}: name must be text")
    if message.get("weight") not in (None, 0, 1):
        raise InputError(f"{place}: weight must be 0 or 1, not {message['weight']!r:.40}")
    checked = {"role": message["role"], "content": without_lone_surrogates(message["content"]).strip()}
    if message.get("name") and message["name"].strip():
        checked["name"] = without_lone_surrogates(message["name"]).strip()
    if message["role"] == "assistant" and message.get("weight") == 0:
        checked["weight"] = 0
    return checked


def without_lone_surrogates(text: str) -> str:
    """The text with U+FFFD in place of each lone surrogate, which JSON can hold and UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def weighted_turns(messages: Iterable[Message]) -> list[tuple[str, list[tuple[str, int]]]]:
    """
    (role, [(text, 1 if it is learned), ...]) of each turn: the parts are consecutive messages by one person, which
    together are the text of the turn.
    """
    merged: list[tuple[str, str | None, list[tuple[str, int]]]] = []  # role, name, parts
    for message in messages:
        role, text = message["role"], message["content"]
        name = message.get("name") if role == "user" else None
        learned = int(role == "assistant" and message.get("weight", 1) != 0)
        if merged and merged[-1][:2] == (role, name):
            merged[-1][2].append(("\n" + text, learned))
        else:
            merged.append((role, name, [((f"{name}: " if name else "") + text, learned)]))
    return [(role, parts) for role, _, parts in merged]


def turns(messages: Iterable[Message]) -> list[tuple[str, str]]:
    """
    (role, text) of each turn: consecutive messages by one person are joined by newlines, and a user's name comes
    before the text.
    """
    return [(role, "".join(text for text, _ in parts)) for role, parts in weighted_turns(messages)]


def render(messages: Iterable[Message], tokenizer: "Tokenizer") -> tuple[list[int], list[int]]:
    """
    The conversation as (ids, supervised), two lists of equal length.
    What is rendered of the first messages is a prefix of what is rendered of the whole conversation, unless the next
    message is by the same person: then it joins the last turn.
    """
    tags = {"system": tokenizer.system, "user": tokenizer.human, "assistant": tokenizer.bot}
    ids, supervised = [tokenizer.endoftext], [0]
    for role, parts in weighted_turns(messages):
        ids.append(tags[role])
        supervised.append(0)
        # no token reaches over the newline between two messages, so that they may be encoded apart
        for i, (learned, group) in enumerate(itertools.groupby(parts, itemgetter(1))):
            text = "".join(text for text, _ in group)
            ids += tokenizer.encode(text if i else " " + text)
            supervised += [learned] * (len(ids) - len(supervised))
        ids.append(tokenizer.end_of_turn)
        supervised.append(parts[-1][1])
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


def parse(ids: Sequence[int], tokenizer: "Tokenizer", supervised: Sequence[int] | None = None) -> list[Message]:
    """
    The messages of a rendered conversation, one for each turn. What `render` merged into a turn stays one message, and
    a user's name is part of its content. With `supervised`, what is not learned of the bot's words is a message of its
    own, of weight 0.
    """
    parts = list(split_turns(ids, tokenizer))
    start = len(ids) - sum(len(turn) for _, turn in parts)
    messages: list[Message] = []
    for role, turn in parts:
        learned = (
            [1] * len(turn) if role != "assistant" or supervised is None else supervised[start : start + len(turn)]
        )
        start += len(turn)
        for is_learned, pairs in itertools.groupby(zip(turn[1:], learned[1:], strict=True), itemgetter(1)):
            text = tokenizer.decode([token_id for token_id, _ in pairs]).strip()
            messages.append({"role": role, "content": text, **({} if is_learned else {"weight": 0})})
    return messages


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
