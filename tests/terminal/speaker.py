"""
A chat with a scripted bot in a real terminal, for the tests: `python tests/terminal/speaker.py` talks until Ctrl-D.

It is all of chat.py but the model: what it says depends on the last message only, a piece each few milliseconds.
"""

import sys
import time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[2]))

import chat
from inference.streaming import FinishReason, Piece
from terminal.conversation import Conversation

LOOP = "i like dogs i like dogs i like dogs i like dogs"
SLOW = "well, " + "and then, " * 500


class Speaker:
    """Answers `N: MESSAGE`, N the number of messages in view; some messages have replies of their own."""

    def __init__(self, block_size=1000):
        self.block_size = block_size
        self.template = SimpleNamespace(name="words", prompt=lambda messages: [0] * sum(map(n_words, messages)))
        self.seen = []  # (messages, seed) of each call
        self.delay = 0.0  # seconds before each piece

    def max_prompt_tokens(self, sampling):
        return self.block_size - 200

    def text(self, messages):
        last = messages[-1]["content"]
        n_asked = sum(seen == messages for seen, _ in self.seen)
        if messages[-1]["role"] == "assistant":
            return ", and more"
        if last == "always loop" or last == "loop" and n_asked == 1:
            return LOOP
        fixed = {"loop": "i like dogs.", "slow": SLOW, "escape": "red \033[31m\x07 text", "silent": ""}
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


if __name__ == "__main__":
    import configurator

    def scripted(config):
        resumed = chat.open_saved(config)
        speaker = Speaker()
        speaker.delay = 0.005
        messages = resumed[1].messages if resumed else chat.personas.opening(config.system)
        chat.talk(Conversation(speaker, config, messages, chat.open_memory(config)), config, resumed)

    configurator.main(scripted, chat.ChatConfig)
