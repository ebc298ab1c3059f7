"""What every model is asked, drawn by a seed, and how its replies are sampled."""

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from evaluation.backends import Answer, Backend
from evaluation.settings import MAX_NEW_TOKENS
from inference.settings import SamplingParams
from tokenization.chat_format import Message

# New tokens at which a reply is cut and looked at: it is generated once, and the shorter ones are cuts of it. The
# fine-tunes of 2023 fell apart beyond 15 to 30.
LIMITS = (15, 30, 50, 80, MAX_NEW_TOKENS)
GREEDY = SamplingParams(temperature=0, repetition_penalty=1.0, max_new_tokens=MAX_NEW_TOKENS)
MODES = ("greedy", "sampled")


class Context(NamedTuple):
    """A place in a conversation where the bot speaks."""

    messages: list[Message]  # up to the human's message that is to be answered
    reply: str  # what the person in the bot's role really answered


def find_contexts(conversations: Sequence[list[Message]], n: int, seed: int) -> list[Context]:
    """n Contexts drawn by the seed, at most one from each conversation; fewer if there are fewer."""
    rng, contexts = random.Random(f"{seed}/contexts"), []
    for messages in conversations:
        roles = [message["role"] for message in messages]
        replies = [i for i in range(1, len(roles)) if roles[i - 1] == "user" and roles[i] == "assistant"]
        if replies:
            i = rng.choice(replies)
            contexts.append(Context(messages[:i], messages[i]["content"]))
    return rng.sample(contexts, min(n, len(contexts)))


def sampling_modes(sampling: SamplingParams) -> dict[str, SamplingParams]:
    """Mode -> how its replies are drawn: "greedy" takes the likeliest token, "sampled" is `sampling`."""
    return {"greedy": GREEDY, "sampled": sampling}


def ask(
    backend: Backend,
    prompts: Sequence[list[Message]],
    sampling: SamplingParams,
    seed: int,
    progress: Callable[[int], object],
    limits: Sequence[int] = (),
) -> list[Answer]:
    """
    The Answer to each prompt, a list of messages. Where the temperature is above 0, each is drawn with its own seed,
    made of `seed` and its number. limits, progress: as Backend.answers has them.
    """
    requests = [
        (messages, sampling if sampling.temperature == 0 else dataclasses.replace(sampling, seed=seed * 1_000_003 + i))
        for i, messages in enumerate(prompts)
    ]
    return backend.answers(requests, limits, progress)
