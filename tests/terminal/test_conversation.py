"""
A conversation remembers what was said in order, whatever is asked of it; a faulty reply is tried again and the
best is kept; the 300th turn costs no more than the second.
"""

import tracemalloc

import pytest
from conftest import talk
from speaker import LOOP, Speaker

from evaluation.faults import TRIES
from inference.engine import Engine
from inference.settings import SamplingParams
from inference.streaming import FinishReason, Piece
from memory.notes import Memory
from model import GPT, GPTConfig
from runtime.errors import InputError
from terminal.conversation import Conversation, Display

SAMPLING = SamplingParams()


def said(chat):
    return [message["content"] for message in chat.messages]


def test_an_answer_joins_the_conversation():
    """The question and the reply are remembered, in order; the pieces are shown as they come."""
    shown = []
    chat = Conversation(Speaker(), SAMPLING, [{"role": "system", "content": "x"}])
    reply = chat.ask(" hi ", Display(show=shown.append))
    assert (reply.text, reply.reason, reply.n_tokens) == ("2: hi", FinishReason.STOP_TOKEN, 2)
    assert shown == ["2: ", "hi"]
    assert [m["role"] for m in chat.messages] == ["system", "user", "assistant"] and said(chat) == ["x", "hi", "2: hi"]


def test_a_question_that_does_not_fit_is_forgotten(tiny, tokens):
    """What raised InputError is not in the way of the next question, and nothing was shown."""
    chat, shown = Conversation(Engine(tiny, tokens), SAMPLING), []
    with pytest.raises(InputError, match="shorten the message"):
        chat.ask("word " * 500, Display(begin=lambda: shown.append("begin")))
    assert chat.messages == shown == []


def test_retry_undo_and_go_on():
    """Another reply stands in the place of the last; what is undone is gone; a reply that goes on stays one message."""
    chat = Conversation(Speaker(), SAMPLING)
    for refused in (chat.retry, chat.go_on):
        with pytest.raises(InputError, match="yet"):
            refused()
    assert chat.undo() is None
    chat.ask("one")
    chat.ask("two")
    chat.retry()
    assert said(chat) == ["one", "1: one", "two", "3: two"] and chat.engine.seen[1] == chat.engine.seen[2]
    chat.go_on()
    assert said(chat)[-1] == "3: two, and more"
    assert chat.undo() == "two" and said(chat) == ["one", "1: one"]


def test_a_reply_goes_on_where_it_was_cut(learned, dialogue):
    """With a model that knows a dialogue by heart: a cut reply, and its continuation, are the whole reply."""
    from inference.loading import open_engine
    from inference.settings import EngineConfig

    config = EngineConfig(out_dir=str(learned), temperature=0.0, repetition_penalty=1.0, device="cpu", max_new_tokens=5)
    chat = Conversation(open_engine(config)[0], config, dialogue[:1])
    reply = chat.ask(dialogue[1]["content"])
    assert reply.reason is FinishReason.LENGTH and reply.text != dialogue[2]["content"]
    for _ in range(20):
        if chat.go_on().reason is FinishReason.STOP_TOKEN:
            break
    assert chat.messages == dialogue[:3]


def test_each_reply_has_its_own_seed():
    """With a seed the replies differ, and a second run has the same seeds; without it there is none."""
    seeds = []
    for seed in (5, 5, None):
        chat = Conversation(Speaker(), SamplingParams(seed=seed))
        chat.ask("hi")
        chat.ask("hi")
        seeds.append([seed for _, seed in chat.engine.seen])
    assert seeds == [[5, 6], [5, 6], [None, None]]


def test_a_reply_that_loops_is_tried_again():
    """The second reply takes the place of the first, and the count says so; a greedy reply would be the same again."""
    log = []
    display = Display(lambda: log.append("begin"), log.append, lambda: log.append("erase"))
    chat = Conversation(Speaker(), SAMPLING)
    assert chat.ask("loop", display).text == "i like dogs." == said(chat)[-1]
    assert log[-4:] == ["erase", "i ", "like ", "dogs."] and log.count("begin") == 1
    assert dict(chat.caught) == {"loops": 1} and chat.n_mended == 1
    chat = Conversation(Speaker(), SamplingParams(temperature=0.0))
    assert chat.ask("loop").text == LOOP and not chat.caught


def test_of_faulty_replies_the_first_stays():
    """The display ends with what is kept, after as many tries as there are."""
    log = []
    chat = Conversation(Speaker(), SAMPLING)
    chat.ask("always loop", Display(show=log.append, erase=log.clear))
    assert "".join(log) == said(chat)[-1] == LOOP and chat.n_mended == 0
    assert len(chat.engine.seen) == TRIES


def test_the_best_of_faulty_replies_is_kept():
    """Here of three the second, which copies: a lesser fault than a loop."""

    class Worse(Speaker):
        texts = iter([LOOP, "do you like big dogs", LOOP])

        def reply(self, messages, sampling):
            yield Piece(next(self.texts), FinishReason.STOP_TOKEN, 5)

    log = []
    chat = Conversation(Worse(), SAMPLING)
    reply = chat.ask("do you like big dogs", Display(show=log.append, erase=log.clear))
    assert reply.text == "".join(log) == "do you like big dogs" and reply.fault == "copies"


def test_an_endless_loop_is_ended_early():
    """A reply that loops is not generated to its limit: here of 10,000 pieces a few are asked for."""

    class Endless(Speaker):
        n = 0

        def reply(self, messages, sampling):
            for i in range(10_000):
                self.n += 1
                yield Piece("round we go ", None, i + 1)

    speaker = Endless()
    Conversation(speaker, SAMPLING).ask("hi")
    assert speaker.n < 200


def test_what_is_stopped_stays_as_far_as_it_came():
    """A stopped reply is kept, tried no second time, and what was there before an empty retry comes back."""
    chat = Conversation(Speaker(), SAMPLING)
    chat.ask("one")
    pieces = []
    reply = chat.ask("slow", Display(show=pieces.append, stopped=lambda: len(pieces) >= 3))
    assert reply.reason is FinishReason.INTERRUPTED and said(chat)[-1] == "well, and then, "
    assert len(chat.engine.seen) == 2
    chat.engine.text = lambda messages: ""
    chat.retry(Display(stopped=lambda: True))
    assert said(chat)[-1] == "well, and then, "


@pytest.mark.slow
@pytest.mark.parametrize("remembers", [False, True])
def test_300_turns_cost_what_two_do(tokens, remembers):
    """
    Neither the tokens that a turn computes before its first, nor the messages that it renders, nor what is kept beside
    the talk itself grow: with turns that state a fact, and turns that ask for one.
    """
    model = GPT(GPTConfig(block_size=400, vocab_size=tokens.n_vocab, n_layer=1, n_head=2, n_embd=16)).eval()
    engine, rendered, computed, kept = Engine(model, tokens), [], [], []
    prompt = engine.template.prompt

    def counted(messages):
        rendered[-1] += len(messages)
        return prompt(messages)

    engine.template.prompt = counted
    chat = Conversation(engine, SamplingParams(max_new_tokens=2), [], Memory() if remembers else None)
    lines = [message["content"] for message in talk(150, seed=1)]
    tracemalloc.start()
    for i, line in enumerate(lines):
        rendered.append(0)
        before = engine.computed
        chat.ask(("i like {}", "my dog is called {}", "do you know {}?", "{}")[i % 4].format(line))
        computed.append(engine.computed - before)
        kept.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert len(chat.messages) > 500 and chat.view.start > 400
    assert max(rendered[200:]) <= 1.5 * max(rendered[:100]) and sum(rendered[200:]) <= 1.5 * sum(rendered[50:150])
    assert sum(computed[200:]) <= 1.2 * sum(computed[50:150]) and max(computed) <= engine.block_size
    assert kept[299] - kept[149] < 150 * (6000 if remembers else 2000)  # bytes
