"""What data/recall --memory_share teaches is, token for token, what a chat with memory shows its model."""

import itertools
import random
from types import SimpleNamespace

from conftest import script

from dataset.recall import tasks
from dataset.recall.filler import Filler
from inference.settings import SamplingParams
from inference.streaming import FinishReason, Piece
from memory.notes import NOTED, Memory
from terminal.conversation import Conversation
from tokenization import chat_format


class Script:
    """An engine whose replies are those of a conversation, and which keeps the ids of each prompt."""

    def __init__(self, tokens, max_tokens, replies):
        self.template = SimpleNamespace(prompt=lambda messages: chat_format.prompt(messages, tokens))
        self.max_tokens, self.replies, self.asked, self.block_size = max_tokens, iter(replies), [], 1024

    def max_prompt_tokens(self, sampling):
        return self.max_tokens

    def reply(self, messages, sampling):
        self.asked.append(self.template.prompt(messages))
        yield Piece(next(self.replies), FinishReason.STOP_TOKEN, 1)


def test_a_chat_shows_what_training_rendered(talk_dir):
    """Notes and turns that are brought back included: the prompt is the beginning of what was learned."""
    recall, filler, texts = script("recall"), Filler([str(talk_dir)], "train"), ""
    n_recalled = 0
    for index in range(120):
        woven = tasks.conversation(filler, seed=1, index=index)
        seed = f"memory/{index}"
        if (learned := recall.remembered(woven, filler, random.Random(seed))) is None:
            continue
        rng = random.Random(seed)
        n_answered = woven.answered_at(rng.choice(woven.questions))
        opening = list(itertools.takewhile(lambda message: message["role"] == "system", woven.messages))
        talk = woven.messages[len(opening) : n_answered]
        replies = [message["content"] for message in talk if message["role"] == "assistant"] + ["end"]
        engine = Script(filler.tokenizer, rng.randint(96, 384), replies)
        chat = Conversation(engine, SamplingParams(temperature=0.0), opening, Memory())
        for message in talk:
            if message["role"] == "user":
                chat.ask(message["content"])
        rendered, _ = chat_format.render(learned, filler.tokenizer)
        assert rendered[: len(engine.asked[-1])] == engine.asked[-1]
        texts += "\n".join(message["content"] for message in learned)
        n_recalled += min(len(learned), len(talk)) > 2 and learned[-3]["content"] != talk[-2]["content"]
    assert min(texts.count(NOTED), n_recalled) >= 3
