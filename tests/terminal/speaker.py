"""
A chat with a scripted bot in a real terminal, for the tests: `python tests/terminal/speaker.py` talks until Ctrl-D.

It is all of chat.py but the model: what it says depends on the last message only, a piece each few milliseconds.
"""

import os
import sys
import time
import types
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[2]))

import chat
from inference.streaming import FinishReason, Piece
from runtime.errors import InputError

LOOP = "i like dogs i like dogs i like dogs i like dogs"
# what takes a tenth of a second to import, or more, beside what only a model needs
HEAVY = {"torch", "numba", "numpy", "safetensors", "transformers", "tokenizers", "datasets", "huggingface_hub"}
HEAVY |= {"pydantic", "fastapi", "jinja2", "matplotlib", "requests", "httpx"}
SLOW = "well, " + "and then, " * 500


class Speaker:
    """Answers `N: MESSAGE`, N the number of messages in view; some messages have replies of their own."""

    def __init__(self, block_size=1000):
        self.block_size = block_size
        self.template = SimpleNamespace(name="words", prompt=lambda messages: [0] * sum(map(n_words, messages)))
        self.seen = []  # (messages, seed) of each call
        self.delay = 0.0  # seconds before each piece
        self.runner = SimpleNamespace(adopt=lambda: None)

    def max_prompt_tokens(self, sampling):
        return self.block_size - 200

    def text(self, messages):
        last = messages[-1]["content"]
        n_asked = sum(seen == messages for seen, _ in self.seen)
        if messages[-1]["role"] == "assistant":
            return ", and more"
        if last == "always loop" or last == "loop" and n_asked == 1:
            return LOOP
        heavy = " ".join(sorted(HEAVY & sys.modules.keys())) or "none"
        fixed = {"heavy": heavy, "loop": "i like dogs.", "slow": SLOW, "escape": "red \033[31m\x07 text", "silent": ""}
        return fixed.get(last, f"{len(messages)}: {last}")

    def reply(self, messages, sampling):
        self.seen.append(([dict(message) for message in messages], sampling.seed))
        text = self.text(messages)
        words = text.split(" ")
        for i, word in enumerate(words):
            time.sleep(self.delay)
            reason = FinishReason.STOP_TOKEN if i == len(words) - 1 else None
            yield Piece(word + " " * (reason is None), reason, i + 1)


def n_words(message):
    return len(message["content"].split()) + 2


def open_speaker(settings):
    """As open_engine of inference/loading.py. OPENS in the environment: a file that it waits for. BREAKS: it fails."""
    while "OPENS" in os.environ and not os.path.exists(os.environ["OPENS"]):
        time.sleep(0.01)
    if "BREAKS" in os.environ:
        raise InputError("the model is broken")
    speaker = Speaker()
    speaker.delay = 0.005
    return speaker, {"format": 1}


if __name__ == "__main__":
    import configurator

    sys.modules["inference.loading"] = types.ModuleType("inference.loading")
    sys.modules["inference.loading"].open_engine = open_speaker
    configurator.main(chat.chat, chat.ChatConfig)
