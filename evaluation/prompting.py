"""What a model is asked, and its answers at several lengths."""

import dataclasses
import random

from inference.settings import SamplingParams

LIMITS = (15, 30, 50, 80, 200)  # new tokens; the 2023 fine-tunes fell apart beyond 15 to 30
LIMIT = LIMITS[-1]
GREEDY = SamplingParams(temperature=0, repetition_penalty=1.0, max_new_tokens=LIMIT)
MODES = ("greedy", "sampled")


def find_contexts(conversations, n, seed):
    """[(messages that end with the human's, the bot's real reply)]: one a conversation, n of them if there are."""
    rng, found = random.Random(f"{seed}/contexts"), []
    for messages in conversations:
        places = [i for i in range(1, len(messages)) if (messages[i - 1]["role"], messages[i]["role"]) == ASKED]
        if places:
            place = rng.choice(places)
            found.append((messages[:place], messages[place]["content"]))
    return rng.sample(found, min(n, len(found)))


ASKED = ("user", "assistant")


def sampling_modes(sampling):
    """{mode: the Sampling of its replies}; `sampling` is how replies are drawn where chance has a part."""
    return dict(zip(MODES, (GREEDY, sampling), strict=True))


def seeded(sampling, i, seed):
    """The Sampling for request number i: a seed of its own where chance has a part."""
    return sampling if sampling.temperature == 0 else dataclasses.replace(sampling, seed=seed * 1_000_003 + i)


def ask(speaker, prompts, sampling, seed, progress, limits=()):
    """The Answer to each list of messages."""
    return speaker.answers([(each, seeded(sampling, i, seed)) for i, each in enumerate(prompts)], limits, progress)
