"""
What stays in view when a chat outgrows its context. GPT-2's learned positions cannot slide, so old turns go, whole.
"""

from runtime.errors import InputError


def messages_in_view(messages, prompt, room):
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


def split_to_fit(messages, template, block_size):
    """
    (part, (ids, supervised)) for the parts of a conversation that fit in a context: the system message, and whole
    turns from a human's one on. A reply is in one part; one that does not fit behind its question is in none.
    """
    system = [message for message in messages[:1] if message["role"] == "system"]
    talk = messages[len(system) :]
    empty = len(template.render([])[0])
    costs = [len(template.render([message])[0]) - empty for message in talk]
    room = block_size + 1 - len(template.render(system)[0])
    start = end = 0
    while start < len(talk):
        end = start
        while end < len(talk) and sum(costs[start : end + 1]) <= room:
            end += 1
        part = system + talk[start:end]
        rendered = template.render(part) if part else ([], [])
        if any(rendered[1]) and len(rendered[0]) <= block_size + 1:
            yield part, rendered
        following = end - 1 if 0 < end < len(talk) and talk[end]["role"] == "assistant" else end
        start = following if following > start else max(end, start + 1)
