"""
What is drawn is what was asked for: the operators are transformers' number for number, alone and in their order; those
it has not are the published rules; the fast path keeps what a plain sort keeps; a stop word is never seen.
"""

import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from inference.sampling import apply_penalties, filter_logits, logprobs_of, repeated_run_lengths, sample_token
from inference.settings import LARGEST, SamplingParams
from inference.streaming import StopWordFilter

PLAIN = dict(temperature=1.0, top_p=1.0, repetition_penalty=1.0)


def random_logits(n=500, seed=0, scale=3.0):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed)) * scale


def ours(logits, sampling, recent):
    """Logits (n_vocab,) after both steps, -inf where a token is ruled out."""
    ids, left = filter_logits(apply_penalties(logits.numpy(), sampling, recent), sampling)
    return torch.full_like(logits, -torch.inf).index_put((torch.from_numpy(ids),), torch.from_numpy(left))


def theirs(logits, sampling, recent):
    """The same operators by transformers, in the order in which its generate() applies them."""
    chain = LogitsProcessorList()
    if sampling.logit_bias:
        chain.append(SequenceBiasLogitsProcessor([[[id], bias] for id, bias in sampling.logit_bias.items()]))
    if sampling.repetition_penalty != 1.0:
        chain.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.no_repeat_ngram:
        chain.append(NoRepeatNGramLogitsProcessor(sampling.no_repeat_ngram))
    if sampling.temperature not in (0, 1.0):
        chain.append(TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k:
        chain.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        chain.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        chain.append(MinPLogitsWarper(sampling.min_p))
    if sampling.typical_p < 1.0:
        chain.append(TypicalLogitsWarper(mass=sampling.typical_p))
    return chain(torch.tensor([recent], dtype=torch.long), logits[None].clone())[0]


CASES = [
    dict(temperature=0.7),
    dict(temperature=2.5),
    dict(top_k=1),
    dict(top_k=7),
    dict(top_k=10_000),
    dict(top_p=0.9),
    dict(top_p=0.05),
    dict(top_p=0.99),
    dict(min_p=0.1),
    dict(min_p=1.0),
    dict(typical_p=0.9),
    dict(typical_p=0.2),
    dict(typical_p=0.01),
    dict(repetition_penalty=1.3),
    dict(repetition_penalty=0.8),
    dict(no_repeat_ngram=1),
    dict(no_repeat_ngram=2),
    dict(no_repeat_ngram=3),
    dict(logit_bias={7: 5.0, 3: -2.5, 499: -100.0}),
    dict(temperature=0.8, top_k=50, top_p=0.9, min_p=0.02, repetition_penalty=1.2),
    dict(temperature=1.5, top_k=5, top_p=0.5, min_p=0.3, repetition_penalty=2.0),
    dict(temperature=1.2, top_k=80, top_p=0.97, typical_p=0.8, no_repeat_ngram=2, repetition_penalty=1.1),
    dict(temperature=0.6, min_p=0.01, typical_p=0.5, logit_bias={12: 9.0}, repetition_penalty=1.5, no_repeat_ngram=3),
]


@pytest.mark.parametrize("scale", [0.3, 3.0])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_operators_equal_transformers(case, scale):
    """Alone and combined, peaked or flat, operators give transformers' numbers, and rule out what they rule out."""
    sampling = SamplingParams(**{**PLAIN, **case})
    for seed in range(20):
        logits, recent = random_logits(seed=seed, scale=scale), [3, 7, 7, 499, 12, 3, 7]
        torch.testing.assert_close(ours(logits, sampling, recent), theirs(logits, sampling, recent))


@pytest.mark.slow
def test_any_settings_equal_transformers():
    """4,000 settings drawn at random, each operator on or off; where a sum of float32 decides, either may be right."""
    rng = random.Random(0)
    far = 0
    for seed in range(4000):
        case = {
            "temperature": rng.choice([1.0, 0.3, 0.7, 1.5]),
            "top_k": rng.choice([None, 0, 1, 5, 50]),
            "top_p": rng.choice([1.0, 0.3, 0.8, 0.95]),
            "min_p": rng.choice([0.0, 0.01, 0.2]),
            "typical_p": rng.choice([1.0, 1.0, 0.3, 0.9]),
            "repetition_penalty": rng.choice([1.0, 1.2, 0.7]),
            "no_repeat_ngram": rng.choice([0, 1, 3]),
            "logit_bias": rng.choice([{}, {rng.randrange(500): rng.uniform(-9, 9)}]),
        }
        logits, recent = random_logits(seed=seed, scale=rng.choice([0.3, 3.0])), rng.choices(range(500), k=7)
        a, b = (f(logits, SamplingParams(**{**PLAIN, **case}), recent) for f in (ours, theirs))
        far += not torch.allclose(a, b, atol=1e-4, rtol=1e-4)
    assert far < 8


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([0.1, 1.0, 4.0, 12.0]),
    st.floats(0.01, 0.999),
    st.sampled_from([None, 3, 40]),
)
@example(1929, 0.1, 0.8110611625808917, None)  # a tie in float32
def test_top_p_without_a_sort_is_top_p(seed, scale, top_p, top_k):
    """The tokens near the highest stand for all only where they hold the share: the same set as one sort of all."""
    logits = random_logits(2000, seed, scale)
    ids, left = filter_logits(logits.numpy(), SamplingParams(**{**PLAIN, "top_p": top_p, "top_k": top_k}))
    pool = (
        logits
        if top_k is None
        else torch.full_like(logits, -torch.inf).index_put((logits.topk(top_k).indices,), logits.topk(top_k).values)
    )
    probs, order = pool.double().softmax(0).sort(descending=True)
    before = probs.cumsum(0) - probs
    if (before - top_p).abs().min() > 5e-5:  # else the rounding of 2,000 float32 sums decides
        wanted = before < top_p
        found, last = set(ids.tolist()), probs[wanted][-1]
        assert found >= set(order[wanted].tolist())
        tied = probs > last * (1 - 1e-6)  # what float32 cannot tell from the last one
        assert found <= set(order[tied].tolist())
    assert np.array_equal(left, logits.numpy()[ids])


def test_frequency_and_presence_are_openais():
    """mu_j - c_j * frequency - [c_j > 0] * presence, with c_j the times a token was said."""
    sampling = SamplingParams(**PLAIN, frequency_penalty=0.5, presence_penalty=0.25)
    found = ours(torch.zeros(5), sampling, [1, 3, 3, 3])
    assert found.tolist() == [0.0, -0.75, 0.0, -1.75, 0.0]


def test_dry_penalises_what_would_repeat():
    """multiplier * base ** (length - allowed_length) off what followed an earlier run; nothing for short runs."""
    sampling = SamplingParams(**PLAIN, dry_multiplier=0.8, dry_base=2.0, dry_allowed_length=2)
    said = [1, 2, 3, 4, 9, 1, 2, 3]  # 1 2 3 was followed by 4
    found = ours(torch.zeros(12), sampling, said)
    assert found[4].item() == pytest.approx(-1.6) and found.count_nonzero() == 1
    assert not ours(torch.zeros(12), sampling, [5, 4, 9, 5]).any()  # a run of 1 is allowed


@given(st.lists(st.integers(0, 3), max_size=25))
def test_runs_are_the_longest_repeats(recent):
    """For each id the greatest n for which the last n ids, then it, stand somewhere before."""
    wanted = {}
    for id in range(4):
        for n in range(1, len(recent)):
            gram = [*recent[-n:], id]
            if any(recent[i : i + n + 1] == gram for i in range(len(recent) - n)):
                wanted[id] = n
    assert repeated_run_lengths(np.array(recent, np.int64)) == wanted


def test_dry_stays_finite():
    """A bot that said one word two thousand times gets a huge penalty, and no infinity that softmax would choke on."""
    logits, dry, said = np.zeros(12, np.float32), SamplingParams(**PLAIN, dry_multiplier=0.8), [7] * 2000
    found = apply_penalties(logits, SamplingParams(**PLAIN, dry_multiplier=0.8, penalty_window=2000), said)
    assert sample_token(logits, dry, torch.Generator().manual_seed(1), said) != 7
    assert found[7] == pytest.approx(-LARGEST) and np.isfinite(found).all()


@pytest.mark.parametrize(
    "case", [dict(), dict(top_k=40), dict(top_p=1.0, min_p=0.05), dict(temperature=1.3, top_p=0.99)]
)
def test_a_draw_is_that_of_the_whole_distribution(case):
    """The same number of the generator gives the same token as all operators over the whole vocabulary, in torch."""
    sampling = SamplingParams(**case)
    for seed in range(200):
        logits, recent = random_logits(seed=seed), [3, 7, 7, 499, 12]
        left = theirs(logits, sampling, recent).double().softmax(0).cumsum(0)
        threshold = torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        wanted = int(torch.searchsorted(left, threshold, right=True))
        drawn = sample_token(logits.numpy(), sampling, torch.Generator().manual_seed(seed), recent)
        assert drawn == wanted or (left - threshold).abs().min() < 1e-6, (seed, drawn, wanted)


@pytest.mark.parametrize("temperature", [1e-6, LARGEST])
def test_the_largest_settings_draw_a_token(temperature):
    """Whatever logits are added to, multiplied or divided by: a token is left to draw, of a few that all recur."""
    tiny, recent = np.float32([-9.0, 0.0, 9.0]), [0, 1, 2] * 20
    for sign in (1, -1):
        largest = dict(logit_bias={0: sign * LARGEST}, frequency_penalty=sign * LARGEST, presence_penalty=LARGEST)
        largest |= dict(repetition_penalty=LARGEST, dry_multiplier=LARGEST, dry_base=10.0)
        for rest in (dict(top_p=1e-9), dict(top_k=2, min_p=1.0), dict(typical_p=1e-9, top_p=0.5)):
            sampling = SamplingParams(temperature=temperature, **largest, **rest)
            assert sample_token(tiny, sampling, torch.Generator().manual_seed(1), recent) in (0, 1, 2)


def test_logprobs_are_the_models_own():
    """The chosen token's and the likeliest ones' log softmax, before any operator."""
    logits = random_logits()
    logprob, likeliest = logprobs_of(logits.numpy(), 17, 3)
    logs = torch.log_softmax(logits, dim=0)
    assert logprob == pytest.approx(logs[17].item())
    assert [id for id, _ in likeliest] == logs.topk(3).indices.tolist()
    assert [value for _, value in likeliest] == pytest.approx(logs.topk(3).values.tolist())
    assert logprobs_of(logits.numpy(), 17, 0)[1] == []


def test_operators_respect_a_ban():
    """A token at minus infinity stays there through every operator, and the others are as without it."""
    logits = random_logits()
    logits[[4, 5]] = -torch.inf
    sampling = SamplingParams(temperature=0.8, top_k=50, top_p=0.9, min_p=0.02, repetition_penalty=1.2)
    found = ours(logits, sampling, [4, 9])
    assert torch.equal(found[[4, 5]], torch.tensor([-torch.inf] * 2)) and not found.isnan().any()
    torch.testing.assert_close(found, theirs(logits, sampling, [4, 9]))


def test_top_p_ends_where_its_share_is_reached():
    """At exactly top_p the next token is out: of 1/2, 1/4, 1/4 a top_p of 0.5 keeps the first alone."""
    logits = torch.tensor([0.5, 0.25, 0.25]).log()
    assert ours(logits, SamplingParams(**{**PLAIN, "top_p": 0.5}), []).isfinite().tolist() == [True, False, False]


def test_operators_leave_their_input_alone():
    """The logits that come in are the same after."""
    logits = random_logits()
    before = logits.clone()
    ours(logits, SamplingParams(temperature=0.5, top_k=3, min_p=0.2), [1, 2])
    assert torch.equal(logits, before)


def test_temperature_0_is_argmax():
    """The likeliest token always, after the penalty, whatever the other settings."""
    for seed in range(20):
        logits = random_logits(seed=seed).numpy()
        best = int(logits.argmax())
        assert sample_token(logits, SamplingParams(temperature=0, top_p=0.1, min_p=0.5), None) == best
        assert sample_token(logits, SamplingParams(temperature=0, repetition_penalty=100.0), None, [best]) != best


def test_draws_follow_the_distribution():
    """Of 20,000 draws each token gets its share of softmax, within 2%."""
    logits, generator = torch.tensor([2.0, 1.0, 0.0, -1.0]), torch.Generator().manual_seed(0)
    sampling = SamplingParams(**PLAIN)
    drawn = torch.tensor([sample_token(logits.numpy(), sampling, generator) for _ in range(20_000)]).bincount() / 20_000
    torch.testing.assert_close(drawn, torch.softmax(logits, dim=-1), atol=0.02, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(temperature=-1),
        dict(temperature=1e-40),  # the quotients would be infinite
        dict(temperature=float("inf")),
        dict(temperature=1e308),  # infinite in float32
        dict(temperature=float("nan")),
        dict(top_k=-1),
        dict(top_p=0.0),
        dict(top_p=1.1),
        dict(min_p=-0.1),
        dict(typical_p=0.0),
        dict(frequency_penalty=float("nan")),
        dict(presence_penalty=float("inf")),
        dict(dry_multiplier=-1.0),
        dict(dry_base=0.5),
        dict(dry_base=1e300),  # no float holds its powers
        dict(repetition_penalty=1e300),
        dict(logit_bias={198: 1e300}),
        dict(dry_allowed_length=0),
        dict(dry_allowed_length=100),  # the longest run that is looked for: it would do nothing
        dict(no_repeat_ngram=-1),
        dict(logit_bias={198: float("nan")}),
        dict(logit_bias={-1: 2.0}),
        dict(stop_ids=(-1,)),
        dict(logprobs=21),
        dict(repetition_penalty=0.0),
        dict(penalty_window=-1),
        dict(max_new_tokens=0),
        dict(stop=("",)),
        dict(seed=-1),
        dict(seed=2**70),
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_named(wrong):
    """Sampling refuses what the operators cannot do, with the name of the setting."""
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} .* is out of its range: .*"):
        SamplingParams(**wrong)


def test_a_top_k_of_0_is_none():
    """0 keeps all tokens, as nanoGPT and transformers have it."""
    logits = random_logits(50).numpy()
    for a, b in zip(*(filter_logits(logits, SamplingParams(top_k=k)) for k in (0, None)), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("more", [dict(min_p=0.1), dict(typical_p=0.5), dict(temperature=0.0), dict(top_k=2)])
def test_a_rule_that_leaves_nothing_does_not_hold(more):
    """In a vocabulary of three that all were said, no_repeat_ngram=1 would rule out every token: one is drawn."""
    sampling = SamplingParams(no_repeat_ngram=1, **more)
    assert sample_token(np.float32([0, 1, 2]), sampling, None, [0, 1, 2]) in (0, 1, 2)
    assert sample_token(np.float32([0, 1, 9]), sampling, None, [2, 1]) == 0  # as long as there is one, it does


def test_extreme_settings_still_draw():
    """The least temperature and the greatest penalty give a token, not an error."""
    cases = [dict(temperature=1e-6), dict(temperature=1e6), dict(repetition_penalty=1e6), dict(top_p=1e-9)]
    for case in cases:
        sampling, generator = SamplingParams(**case), torch.Generator().manual_seed(0)
        assert 0 <= sample_token(random_logits().numpy(), sampling, generator, [1, 2, 1, 2]) < 500


# stop words


def oracle(text, stop):
    """(what is shown, whether a stop word came): cut at the first moment at which a stop word is whole."""
    for end in range(1, len(text) + 1):
        whole = [word for word in stop if text[:end].endswith(word)]
        if whole:
            return text[: end - max(map(len, whole))], True
    return text, False


@settings(max_examples=1000, deadline=None)
@given(
    st.text("ab \n", max_size=30),
    st.lists(st.text("ab \n", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(0, 30), max_size=10),
    st.booleans(),
)
def test_a_stop_word_is_never_shown(text, stop, cuts, strip):
    """However a text is cut into pieces, what is shown is what comes before the first whole stop word, and no more."""
    held, shown = StopWordFilter(stop, strip=strip), ""
    wanted, stopped = oracle(text, stop)
    borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for start, end in itertools.pairwise(borders):
        shown += held.add(text[start:end])
        assert (wanted.strip() if strip else wanted).startswith(shown)  # at no moment a part of a stop word
        if held.stopped:
            break
    shown += held.flush()
    assert held.stopped == stopped
    assert shown == (wanted.strip() if strip else wanted)


def test_text_that_cannot_begin_a_stop_word_is_shown_at_once():
    """Holding back is for what may become a stop word only: streaming stays live."""
    held = StopWordFilter(["END"])
    assert [held.add(piece) for piece in ("he", "llo E", "arth EN", "D", "x")][:4] == ["he", "llo", " Earth", ""]
    assert held.stopped
