"""
What stays in view when a chat outgrows its context. GPT-2's learned positions cannot slide, so whole old turns go.
"""

from collections.abc import Callable, Iterator

from runtime.errors import InputError
from tokenization.chat_format import Message
from tokenization.chat_template import ChatTemplate


def messages_in_view(
    messages: list[Message], prompt: Callable[[list[Message]], list[int]], max_tokens: int
) -> list[Message]:
    """
    The messages whose prompt has at most `max_tokens` tokens: the system message, and the last turns that fit.
    prompt: a function from messages to the ids of their prompt.
    About half of the context is dropped at a time, so that a growing chat keeps its beginning, and with it the KV cache
    of that beginning, for many turns. The first message after the system's is the user's.
    Raises InputError if not even the last turn fits.
    """
    if len(prompt(messages)) <= max_tokens:
        return messages
    system, talk = split_system(messages)
    user_turns = [i for i in range(1, len(talk)) if talk[i]["role"] == "user" != talk[i - 1]["role"]]
    fitting: list[int] = []  # those of user_turns at which a view that fits can begin
    for start in reversed(user_turns):
        # rendered, not summed up: which messages join into a turn, and which names are shown, depends on the start
        if len(prompt(system + talk[start:])) > max_tokens:
            break
        fitting.insert(0, start)
    if not fitting:
        n = len(prompt(system + talk[user_turns[-1] if user_turns else 0 :]))
        raise InputError(
            f"the prompt has {n} tokens and the context room for {max_tokens}; shorten the message or the persona"
        )
    n_system = part_tokens(system, lambda part: len(prompt(part)))
    costs = message_costs(talk, lambda part: len(prompt(part)))
    step = max(1, (max_tokens - n_system) // 2)
    n_dropped = -(-(n_system + sum(costs) - max_tokens) // step) * step  # tokens, rounded up to whole steps
    return system + talk[next((start for start in fitting if sum(costs[:start]) >= n_dropped), fitting[0]) :]


def split_to_fit(
    messages: list[Message], template: ChatTemplate, block_size: int
) -> Iterator[tuple[list[Message], tuple[list[int], list[int]]]]:
    """
    Yield (messages, (ids, supervised)) for parts of a conversation that fit in a context and its last target
    (block_size + 1 tokens): the system message, then whole turns that begin with a user's where possible. Each reply is
    in exactly one part; a reply that does not fit together with its question is in none.
    """
    system, talk = split_system(messages)
    costs = message_costs(talk, lambda part: len(template.render(part)[0]))
    capacity = block_size + 1 - part_tokens(system, lambda part: len(template.render(part)[0]))
    start = 0
    while start < len(talk):
        end, tokens_left = start, capacity
        while end < len(talk) and costs[end] <= tokens_left:
            tokens_left -= costs[end]
            end += 1
        part = system + talk[start:end]
        ids, supervised = template.render(part) if part else ([], [])
        if any(supervised) and len(ids) <= block_size + 1:
            yield part, (ids, supervised)
        # a reply that did not fit is tried again behind its question
        following = end - 1 if 0 < end < len(talk) and talk[end]["role"] == "assistant" else end
        start = following if following > start else max(end, start + 1)


def split_system(messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """([the system message] or [], the other messages)."""
    n = int(messages[:1] != [] and messages[0]["role"] == "system")
    return messages[:n], messages[n:]


def message_costs(messages: list[Message], n_tokens: Callable[[list[Message]], int]) -> list[int]:
    """Tokens that each message takes by itself, by a function that counts those of a conversation."""
    n_empty = n_tokens([])
    return [part_tokens([message], n_tokens) - n_empty for message in messages]


def part_tokens(messages: list[Message], n_tokens: Callable[[list[Message]], int]) -> int:
    """
    Tokens of a part of a conversation, by a function that counts those of a whole one. A folder's template may refuse
    one that the user does not begin; then it is counted as the user's.
    """
    try:
        return n_tokens(messages)
    except InputError:
        return n_tokens([{**message, "role": "user"} for message in messages])
