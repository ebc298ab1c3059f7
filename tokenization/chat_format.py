"""
A conversation: what it is, how it becomes ids, how it is shown. The only place where a special token is placed.

    {"messages": [{"role": "system", "content": "you like cheetahs."},
                  {"role": "user", "content": "hi, how are you?"},
                  {"role": "assistant", "content": "great, just back from a run."}]}

is, as ids: <|endoftext|>, then for each turn its tag (one id), the ordinary ids of " " + text, and end-of-turn.
`supervised` is 1 on the bot's words and the end-of-turn that closes them: what the model learns to say.

Several messages in a row by one person are one turn, joined by newlines. Where a user's message has a `name` (a chat
between several people), the turn begins with it: "Ann: hi". That looks at nothing that is said later, so that a prompt
is a prefix of the render.
"""

from runtime.errors import InputError

Message = dict[str, str]  # "role" (a key of ROLES), "content", and "name" where several people share the user's role
ROLES = {"system": "[System]:", "user": "[Human]:", "assistant": "[Bot]:"}
GREEN, PLAIN = "\033[32m", "\033[0m"


def check(record, where="conversation"):
    """
    The messages of a record, their text stripped, fit to learn from: known roles, no empty text, the system message
    first, both sides heard. Raises InputError that names `where` (a file and line) and the message.
    """
    messages = record.get("messages") if isinstance(record, dict) else None
    if not isinstance(messages, list) or not messages:
        raise InputError(
            f'{where}: a conversation is {{"messages": [{{"role": ..., "content": ...}}, ...]}}, not empty'
        )
    messages = [check_message(message, f"{where}, message {i + 1}") for i, message in enumerate(messages)]
    for i, message in enumerate(messages):
        if message["role"] == "system" and i > 0:
            raise InputError(f"{where}, message {i + 1}: the system message must come first")
    roles = {message["role"] for message in messages}
    for role in ("user", "assistant"):
        if role not in roles:
            raise InputError(f"{where}: one-sided, no message by the {role}; both sides are needed to learn replies")
    return messages


def check_message(message, where):
    if not isinstance(message, dict) or message.get("role") not in tuple(ROLES):  # a list cannot be looked up
        raise InputError(f"{where}: role must be one of {', '.join(ROLES)}")
    if not isinstance(message.get("content"), str) or not message["content"].strip():
        raise InputError(f"{where}: content must be text, and not empty")
    if not isinstance(message.get("name") or "", str):
        raise InputError(f"{where}: name must be text")
    checked = {"role": message["role"], "content": without_lone_surrogates(message["content"]).strip()}
    if message.get("name") and message["name"].strip():
        checked["name"] = without_lone_surrogates(message["name"]).strip()
    return checked


def without_lone_surrogates(text):
    """The text without lone surrogates, which JSON can hold and UTF-8 cannot: U+FFFD in their place."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def turns(messages):
    """(role, text) for each turn: one person's messages in a row joined by newlines, the user's name before them."""
    merged = []
    for message in messages:
        name = message.get("name") if message["role"] == "user" else None
        if merged and merged[-1][:2] == [message["role"], name]:
            merged[-1][2] += "\n" + message["content"]
        else:
            merged.append([message["role"], name, message["content"]])
    return [(role, f"{name}: {text}" if name else text) for role, name, text in merged]


def render(messages, tokenizer):
    """
    The conversation as (ids, supervised), lists of equal length.
    Rendered messages are a prefix of every longer conversation that begins with them, unless it goes on with a message
    by the same person (which joins the last turn).
    """
    tag = {"system": tokenizer.system, "user": tokenizer.human, "assistant": tokenizer.bot}
    ids, supervised = [tokenizer.endoftext], [0]
    for role, text in turns(messages):
        words = tokenizer.encode(" " + text)
        ids += [tag[role], *words, tokenizer.end_of_turn]
        supervised += [0] + [int(role == "assistant")] * (len(words) + 1)
    return ids, supervised


def prompt(messages, tokenizer):
    """The ids after which the bot's reply comes: the render, then the bot's tag."""
    return render(messages, tokenizer)[0] + [tokenizer.bot]


def parse(ids, tokenizer):
    """The messages of rendered ids, one for each turn: what `render` was given, but for names and merged turns."""
    role = {tokenizer.system: "system", tokenizer.human: "user", tokenizer.bot: "assistant"}
    borders = [i for i, id in enumerate(ids) if id in role]
    return [
        {"role": role[ids[start]], "content": tokenizer.decode(ids[start + 1 : end]).strip()}
        for start, end in zip(borders, [*borders[1:], len(ids)], strict=True)
    ]


def as_text(messages):
    """The conversation as people read it, a line a turn: `[Human]: hi`."""
    return "\n".join(f"{ROLES[role]} {text}" for role, text in turns(messages))


def as_terminal_text(ids, supervised, tokenizer):
    """The text of rendered ids for a terminal, the supervised tokens in green."""
    text, green = "", 0
    decode = tokenizer.decoder()
    for id, learned in zip(ids, supervised, strict=True):
        if learned != green:
            text += GREEN if learned else PLAIN
            green = learned
        text += "" if id == tokenizer.endoftext else decode(id)
    return text + decode(None) + (PLAIN if green else "")
