"""
What stays in view when a chat outgrows its context. GPT-2's learned positions cannot slide, so old turns go, whole.
"""

from configurator import InputError
from conversation import prompt, render


def in_view(messages, tokenizer, room):
    """
    The messages whose prompt fits in `room` tokens: the system message, and as many of the last turns as fit.
    What goes is decided in steps of half the room, so that a growing chat keeps its beginning (and the KV cache of it)
    for many turns and loses it seldom. The first message kept is the human's.
    Raises InputError if even the last turn alone does not fit.
    """
    if len(prompt(messages, tokenizer)) <= room:
        return messages
    system = [message for message in messages[:1] if message["role"] == "system"]
    talk = messages[len(system) :]
    fixed = len(prompt(system, tokenizer))
    costs = [len(render([message], tokenizer)[0]) - 1 for message in talk]
    starts = [i for i in range(1, len(talk)) if talk[i]["role"] == "user" != talk[i - 1]["role"]]
    fitting = [start for start in starts if fixed + sum(costs[start:]) <= room]
    if not fitting:
        n = fixed + sum(costs[(starts or [0])[-1] :])
        raise InputError(
            f"the prompt has {n} tokens and the context room for {room}; shorten the message or the persona"
        )
    step = max(1, (room - fixed) // 2)
    dropped = -(-(fixed + sum(costs) - room) // step) * step
    start = next((start for start in fitting if sum(costs[:start]) >= dropped), fitting[0])
    return system + talk[start:]
