"""
What stays in view when a chat outgrows its context. GPT-2's learned positions cannot slide, so old turns go, whole.
"""

from configurator import InputError


def in_view(messages, prompt, room):
    """
    The messages whose prompt fits in `room` tokens: the system message, and as many of the last turns as fit.
    prompt: a function from messages to the prompt's ids.
    What goes is decided in steps of half the room, so that a growing chat keeps its beginning (and the KV cache of it)
    for many turns and loses it seldom. The first message kept is the human's.
    Raises InputError if even the last turn alone does not fit.
    """
    if len(prompt(messages)) <= room:
        return messages
    system = [message for message in messages[:1] if message["role"] == "system"]
    talk = messages[len(system) :]
    starts = [i for i in range(1, len(talk)) if talk[i]["role"] == "user" != talk[i - 1]["role"]]
    fitting = []  # measured as they will be rendered: what joins into a turn, and whose names are shown, depends on it
    for start in reversed(starts):
        n = len(prompt(system + talk[start:]))
        if n > room:
            break
        fitting.insert(0, start)
    if not fitting:
        n = len(prompt(system + talk[starts[-1] if starts else 0 :]))
        raise InputError(
            f"the prompt has {n} tokens and the context room for {room}; shorten the message or the persona"
        )
    fixed = len(prompt(system))
    empty = len(prompt([]))
    costs = [len(prompt([message])) - empty for message in talk]
    step = max(1, (room - fixed) // 2)
    dropped = -(-(fixed + sum(costs) - room) // step) * step
    return system + talk[next((start for start in fitting if sum(costs[:start]) >= dropped), fitting[0]) :]
