"""
A reply is the model's tokens, says why it ended, and repeats with its seed; the KV cache that survives turns changes
no word, nor do the other conversations of a batch.
"""

import itertools

import pytest
import torch

from checkpoint import model_folder
from inference.engine import CapacityError, Engine
from inference.loading import open_engine
from inference.sequence import Token
from inference.settings import EngineConfig, SamplingParams
from inference.streaming import FinishReason
from ops import cpu_step
from runtime.errors import InputError
from tokenization.chat_format import prompt

PLAIN = dict(temperature=1.0, top_p=1.0, repetition_penalty=1.0)
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(params=["kernels", "model", "gpu"], autouse=True)
def path(request, monkeypatch):
    """Every test runs by the kernels for the CPU, by the model alone, and as on a GPU but for the recorded kernels."""
    if request.param != "kernels":
        monkeypatch.setattr("inference.cpu_decoder.CPUDecoder.fits", lambda model: False)
    if request.param == "gpu":
        monkeypatch.setattr("inference.model_runner.GPUDecoder.fits", lambda model: True)
        monkeypatch.setattr("inference.gpu_decoder.SHORTEST_SPAN", 8)
    return request.param


def counted(engine):
    """A list that grows by the shape (rows, new ids of each) of each forward pass."""
    shapes, forward, decoder = [], engine.model.forward, engine.runner.decoder

    def model(idx, **more):
        shapes.append(tuple(idx.shape))
        return forward(idx, **more)

    def kernels(ids, slots, *more):
        shapes.append((len(set(slots)), len(ids) // len(set(slots))))
        return decoder(ids, slots, *more)

    def gpu(gpu_decoder, group, decode=engine.runner.decode_on_gpu):
        shapes.append((len(group), 1))
        return decode(gpu_decoder, group)

    engine.model.forward = model
    engine.runner.decoder, engine.runner.decode_on_gpu = decoder and kernels, gpu
    return shapes


# a reply


class Scripted(Engine):
    """An Engine whose model wants to say exactly `ids`, then end-of-turn: what is around it is the real thing."""

    def __init__(self, model, tokenizer, ids, wishes=()):
        super().__init__(model, tokenizer)
        self.runner.gpu_decoder = None  # it would not ask `logits`
        self.runner.logits = self.scripted_logits
        self.script = iter([*ids, *[tokenizer.end_of_turn] * 1000])
        self.wishes = list(wishes)  # what it would rather say, but must not

    def scripted_logits(self, slots, new_ids):
        row = torch.full((self.tokenizer.n_vocab,), -50.0)
        row[next(self.script)] = 50.0
        row[self.wishes] = 100.0
        return row[None]


def said(pieces):
    """(text, reason) of the Pieces of a reply; only the last has a reason."""
    pieces = list(pieces)
    assert [piece.reason is None for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    return "".join(piece.text for piece in pieces), pieces[-1].reason


def test_a_reply_is_the_engines_tokens(tiny, tokens):
    """The text is shown without the white space around it; characters of several tokens come whole."""
    ids = tokens.encode("  naïve 🐆, two  words\n ")
    pieces = list(Scripted(tiny, tokens, ids).reply(HI, SamplingParams(temperature=0)))
    assert said(pieces) == ("naïve 🐆, two  words", "end_of_turn")
    assert not any("\ufffd" in piece.text for piece in pieces) and len(pieces) > 5


def test_reply_ends_with_the_right_reason(tiny, tokens):
    """end_of_turn, also by <|endoftext|>; stop; length after max_new_tokens; context when there is no position left."""
    hello = tokens.encode(" hello there you")
    greedy = dict(temperature=0, repetition_penalty=1.0)
    assert said(Scripted(tiny, tokens, hello).reply(HI, SamplingParams(**greedy)))[1] == "end_of_turn"
    ended = Scripted(tiny, tokens, [*hello, tokens.endoftext, *hello]).reply(HI, SamplingParams(**greedy))
    assert said(ended) == ("hello there you", "end_of_turn")
    assert said(Scripted(tiny, tokens, hello).reply(HI, SamplingParams(**greedy, stop=("there",)))) == ("hello", "stop")
    one = Scripted(tiny, tokens, hello).reply(HI, SamplingParams(**greedy, max_new_tokens=len(hello)))
    assert said(one) == ("hello there you", "length")
    text, reason = said(Scripted(tiny, tokens, tokens.encode("x") * 99).reply(HI, SamplingParams(**greedy)))
    assert reason == "context"
    room = tiny.config.block_size - len(prompt(HI, tokens))
    assert text == "x" * (room + 1)  # the last token needs no position: nothing is read after it


def test_the_bot_speaks_for_itself_only(tiny, tokens):
    """A model that wants nothing but tags says none of them."""
    tags = (tokens.system, tokens.human, tokens.bot)
    engine = Scripted(tiny, tokens, tokens.encode(" hello"), wishes=tags)
    for sampling in (SamplingParams(temperature=0), SamplingParams(temperature=1.5, top_p=1.0, seed=1)):
        text, _ = said(engine.reply(HI, sampling))
        assert not any(tag in text for tag in ("[System]:", "[Human]:", "[Bot]:"))


def test_penalties_look_at_the_bots_own_recent_words(tiny, tokens, monkeypatch):
    """Recent are the last penalty_window tokens that the bot said, before and in this reply; no word of the human."""
    seen = []
    monkeypatch.setattr(
        "inference.sequence.sample_token", lambda logits, sampling, gen, recent: (seen.append(list(recent)), 65)[1]
    )
    messages = [
        {"role": "user", "content": "zzz"},
        {"role": "assistant", "content": "hello there"},
        {"role": "user", "content": "q"},
    ]
    list(Engine(tiny, tokens).reply(messages, SamplingParams(penalty_window=6, max_new_tokens=9)))
    before = tokens.encode(" hello there")
    assert seen[0] == before[-6:] and seen[2] == [*before, 65, 65][-6:] and seen[8] == [65] * 6
    seen.clear()
    list(Engine(tiny, tokens).reply(messages, SamplingParams(penalty_window=0, max_new_tokens=3)))
    assert seen == [[], [], []]


def test_same_seed_same_text(tiny, tokens):
    """A seed repeats, another one differs, none differs each time; the global generator is not touched."""
    engine, state = Engine(tiny, tokens), torch.get_rng_state()

    def reply(seed):
        return said(engine.reply(HI, SamplingParams(temperature=1.5, top_p=1.0, seed=seed, max_new_tokens=30)))

    assert (
        reply(7)
        == reply(7)
        == said(Engine(tiny, tokens).reply(HI, SamplingParams(temperature=1.5, top_p=1.0, seed=7, max_new_tokens=30)))
    )
    assert len({reply(seed) for seed in (7, 8, None, None, None)}) == 5
    assert torch.equal(torch.get_rng_state(), state)


# the cache that survives


@pytest.mark.parametrize("abandon", [False, True])
def test_a_kept_cache_changes_no_word(tiny, tokens, abandon):
    """Over turns, a chat that outgrows its context, and replies left half way, an engine says what a fresh one says."""
    engine, messages, outgrown = Engine(tiny, tokens), [], 0
    for i in range(6):
        messages.append({"role": "user", "content": f"q {i}?"})
        sampling = SamplingParams(temperature=1.2, seed=i, max_new_tokens=12)
        if abandon:
            list(itertools.islice(engine.reply(messages, sampling), 3))
            list(itertools.islice(engine.reply([{"role": "user", "content": "else"}], sampling), 2))
        reply = said(engine.reply(messages, sampling))
        assert reply == said(Engine(tiny, tokens).reply(messages, sampling))
        outgrown += len(prompt(messages, tokens)) > 52  # 64 less max_new_tokens: old turns are dropped
        messages.append({"role": "assistant", "content": reply[0] or "?"})
    assert 1 <= outgrown <= 4


def after(engine, ids):
    """The logits that the engine draws from after `ids`."""
    seen, sequence = [], engine.add_request(ids, SamplingParams(max_new_tokens=1))
    sequence.next_token = lambda logits, block_size: (seen.append(logits), Token(None, FinishReason.STOP_TOKEN))[1]
    engine.step()
    return seen[0]


def test_the_cache_holds_what_it_says(tiny, tokens):
    """Logits after any ids, in any order of calls, are those of the model without a cache."""
    engine = Engine(tiny, tokens)
    for ids in ([1, 2, 3], [1, 2, 3], [1, 2], [1, 2, 3, 4, 5], [1, 9], [7] * 64, [7] * 63, [5]):
        with torch.no_grad():
            wanted = tiny(torch.tensor([ids]))[0, -1]
        torch.testing.assert_close(after(engine, ids), wanted, atol=1e-5, rtol=0)


def test_a_turn_costs_its_own_tokens_only(tiny, tokens):
    """The second question computes neither the first one nor its reply again."""
    engine = Engine(tiny, tokens)
    computed = counted(engine)
    ids = list(range(20))
    reply = [token.id for token in engine.generate(ids, SamplingParams(temperature=0, max_new_tokens=5))]
    assert computed == [(1, 20), (1, 1), (1, 1), (1, 1), (1, 1)]
    computed.clear()
    next(engine.generate([*ids, *reply, 30, 31, 32], SamplingParams(temperature=0)))
    assert computed == [(1, 4)]  # the reply's last token was never read, and the three new ones
    computed.clear()
    list(engine.generate([*ids, 40], SamplingParams(temperature=0, max_new_tokens=1)))
    assert computed == [(1, 1)]


def test_an_error_amid_a_forward_pass_leaves_a_sound_cache(tiny, tokens, path, monkeypatch):
    """Ctrl-C inside the model, at any layer, and the next text is that of a fresh engine."""
    engine = Engine(tiny, tokens)
    list(engine.generate([1, 2, 3], SamplingParams(temperature=0, max_new_tokens=4)))

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if path == "kernels":  # after the call, which nothing interrupts: all keys are written already
            forward = cpu_step.forward
            patch.setattr("ops.cpu_step.forward", lambda *parts: interrupted(forward(*parts)))
        else:  # at the second layer: the first one's keys are written already
            patch.setattr(tiny.transformer.h[1], "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(engine.generate([1, 2, 9, 9, 9], SamplingParams(temperature=0)))
    wanted = after(Engine(tiny, tokens), [1, 2, 3, 4])
    torch.testing.assert_close(after(engine, [1, 2, 3, 4]), wanted, atol=1e-6, rtol=0)


# many at once


def requests(n, max_new_tokens=20, **sampling):
    """n requests of different prompts and lengths, each with its own seed."""
    words = "a b c d e f g h i j k l m n".split()
    return [
        (
            [{"role": "user", "content": " ".join(words[: 1 + 5 * i % 13])}],
            SamplingParams(seed=i, max_new_tokens=3 + i % max_new_tokens, **sampling),
        )
        for i in range(n)
    ]


@pytest.mark.parametrize("slots", [1, 2, 3, 8])
@pytest.mark.parametrize(
    "sampling", [dict(temperature=0), dict(temperature=1.3), dict(temperature=0.8, top_k=5)], ids=str
)
def test_each_reply_is_the_same_as_when_alone(tiny, tokens, slots, sampling):
    """Twelve conversations through any number of slots, joining as others leave: each text as from an engine alone."""
    asked, texts = requests(12, **sampling), {}
    for i, piece in Engine(tiny, tokens, slots=slots).replies(asked):
        text, reason, n = texts.get(i, ("", None, 0))
        assert reason is None and piece.n_tokens >= n
        texts[i] = text + piece.text, piece.reason, piece.n_tokens
    for i, (messages, drawn) in enumerate(asked):
        pieces = list(Engine(tiny, tokens).reply(messages, drawn))
        assert texts[i] == ("".join(piece.text for piece in pieces), pieces[-1].reason, pieces[-1].n_tokens)


def test_one_joins_and_leaves_at_any_token(tiny, tokens):
    """Sequences that come and go, in any order, change no token of one that stays; a slot is free at once."""
    greedy = SamplingParams(temperature=0, max_new_tokens=30)
    wanted = [token.id for token in Engine(tiny, tokens).generate([1, 2, 3], greedy)]
    engine = Engine(tiny, tokens, slots=3)
    stays, got, others = engine.add_request([1, 2, 3], greedy), [], []
    for i in range(30):
        if i % 3 == 1:
            others.append(engine.add_request([9] * (1 + 2 * i), greedy))
        if i % 7 == 5:
            engine.abort(others.pop(0))
        while len(others) > 2 - (i % 2):
            engine.abort(others.pop())
        got += [token.id for sequence, token in engine.step() if sequence is stays]
    assert got == wanted and stays not in engine.running


def test_a_full_engine_says_so_and_an_empty_one_works_again(tiny, tokens):
    """One sequence more than there are slots is refused; abandoned replies give theirs back."""
    engine = Engine(tiny, tokens, slots=2)
    first = engine.add_request([1], SamplingParams())
    engine.add_request([2], SamplingParams())
    with pytest.raises(CapacityError, match="all 2 slots"):
        engine.add_request([3], SamplingParams())
    engine.abort(first)
    next(engine.reply(HI, SamplingParams(temperature=0)))
    assert engine.running.count(None) == 1
    pieces = engine.replies(requests(9))
    next(pieces)
    pieces.close()
    assert engine.running.count(None) == 1


def test_a_common_beginning_is_computed_once(tiny, tokens):
    """Two that begin alike: the second computes what differs only, even when both join before the first step."""
    engine, forward = Engine(tiny, tokens, slots=3), tiny.forward
    computed = counted(engine)
    greedy = SamplingParams(temperature=0, max_new_tokens=4)
    one, two = engine.add_request([5] * 20 + [1], greedy), engine.add_request([5] * 20 + [2, 3], greedy)
    said = {one: [], two: []}
    while engine.running != [None] * 3:
        for sequence, token in engine.step():
            said[sequence].append(token.id)
    # the second waits for the first one's beginning, then both speak
    assert computed == [(1, 21), (1, 2), (1, 1), (2, 1), (2, 1), (1, 1)]
    tiny.forward = forward
    for sequence, start in ((one, [1]), (two, [2, 3])):
        alone = Engine(tiny, tokens).generate([5] * 20 + start, greedy)
        assert said[sequence] == [token.id for token in alone]


def test_a_dummy_beside_a_full_context_leaves_no_trace(tiny, tokens):
    """Slots between two that decode are computed along; a finished conversation in them can still be gone on with."""
    engine = Engine(tiny, tokens, slots=3)
    one, greedy = SamplingParams(temperature=0, max_new_tokens=1), SamplingParams(temperature=0, max_new_tokens=10)
    first, full, last = (
        engine.add_request([1], greedy),
        engine.add_request([7] * 64, one),
        engine.add_request([3], greedy),
    )
    for _ in range(5):
        engine.step()
    assert full not in engine.running and first in engine.running and last in engine.running
    engine.abort(first), engine.abort(last)
    for ids in ([7] * 64, [7] * 63, [1], [3], [7] * 20):
        with torch.no_grad():
            torch.testing.assert_close(after(engine, ids), tiny(torch.tensor([ids]))[0, -1], atol=1e-5, rtol=0)


# the context's end


@pytest.mark.parametrize("n", [62, 63, 64])
def test_generation_ends_with_the_context(tiny, tokens, n):
    """From n of 64 ids there come 64 - n + 1 tokens, since the last is read by nobody; the last one says context."""
    out = list(Engine(tiny, tokens).generate([5] * n, SamplingParams(**PLAIN, seed=1)))
    assert len(out) == 64 - n + 1
    assert [token.reason for token in out] == [None] * (64 - n) + ["context"]


def test_more_ids_than_the_context_are_refused(tiny, tokens):
    """generate with too many ids, or none, is a ValueError before anything is drawn."""
    for ids in ([5] * 65, []):
        with pytest.raises(ValueError):
            next(Engine(tiny, tokens).generate(ids, SamplingParams()))


def test_a_prompt_longer_than_the_context_is_one_line(tiny, tokens):
    """A question that leaves no room for a reply is an InputError, and the engine answers the next one."""
    engine = Engine(tiny, tokens)
    with pytest.raises(InputError, match="shorten the message"):
        list(engine.reply([{"role": "user", "content": "word " * 100}], SamplingParams()))
    assert said(engine.reply(HI, SamplingParams(max_new_tokens=3, temperature=0)))


def test_a_chat_longer_than_the_context_goes_on(tiny, tokens):
    """Thirty turns in a context of 64 tokens: each is answered, with the persona in every prompt, and room."""
    engine, prompts = Engine(tiny, tokens), []
    add_request = engine.add_request
    engine.add_request = lambda ids, *more, **named: (prompts.append(list(ids)), add_request(ids, *more, **named))[1]
    messages = [{"role": "system", "content": "be"}]
    for i in range(30):
        messages.append({"role": "user", "content": f"q{i}"})
        text, reason = said(engine.reply(messages, SamplingParams(temperature=1.0, seed=i, max_new_tokens=10)))
        assert reason != "context"
        messages.append({"role": "assistant", "content": text or "?"})
    persona = prompt(messages[:1], tokens)[:-1]
    assert all(ids[: len(persona)] == persona and len(ids) <= 54 for ids in prompts)
    assert sum(len(ids) for ids in prompts) > 30 * 20


def test_a_wide_engine_says_the_same(tiny, tokens, tmp_path):
    """With more than eight slots packed weights are multiplied by torch: prompts and replies at once, to rounding."""
    model_folder.save(tmp_path / "model", tiny, tokens, {})
    settings = EngineConfig(init_from=str(tmp_path / "model"), weights="int8", dtype="bfloat16", device="cpu")
    narrow, wide = (open_engine(settings, slots)[0] for slots in (1, 12))
    assert wide.runner.wide == (wide.runner.decoder is not None) and not narrow.runner.wide
    greedy = SamplingParams(temperature=0, max_new_tokens=1, logprobs=5)
    prompts = [[(3 * i + k) % 200 for k in range(5 + 4 * i)] for i in range(12)]
    sequences = [wide.add_request(ids, greedy) for ids in prompts]
    found = {}
    while any(wide.running):
        found.update(wide.step())
    for ids, sequence in zip(prompts, sequences, strict=True):
        (token,) = narrow.generate(ids, greedy)
        assert found[sequence].logprob == pytest.approx(token.logprob, abs=0.02)
