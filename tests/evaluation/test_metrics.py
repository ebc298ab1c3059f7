"""
The scores are the published ones, on worked examples and beside independent implementations, and say of a text that
repeats itself, echoes or speaks for another what a person would.
"""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk import ngrams

from evaluation import metrics
from evaluation.metrics import copies, distinct, f1, impersonates, interval, loops, normalized, seq_rep, words

LOOP = "i like dogs and " * 10
TEXT = st.text(alphabet="ab .!'é🐆", max_size=40)


def test_words_are_words_and_marks():
    assert words("I don't KNOW, Zoë: it's 5€… 🐆!") == [
        "i",
        "don't",
        "know",
        ",",
        "zoë",
        ":",
        "it's",
        "5",
        "€",
        "…",
        "🐆",
        "!",
    ]
    assert words("привет, мир") == ["привет", ",", "мир"] and words(" \n") == []


def test_normalisation_is_convai2s():
    """Worked by hand after ParlAI's normalize_answer: lower, marks to blanks, articles out, white space joined."""
    assert normalized("The  cat's an Animal, a big one!") == "cat s animal big one"
    assert normalized("theatre banana") == "theatre banana"


@pytest.mark.parametrize(
    ("guess", "gold", "wanted"),
    [
        ("i like dogs", "i like dogs", 1.0),
        ("I like the dogs!", "i like dogs.", 1.0),
        ("i like cats", "i like dogs", 2 / 3),
        ("dogs dogs dogs", "i like dogs", 1 / 3),  # one in common: a multiset
        ("yes", "i have two dogs and a cat", 0.0),
        ("two dogs", "i have two dogs and a cat", 2 * 1.0 * (2 / 6) / (1.0 + 2 / 6)),
        ("", "anything", 0.0),
        ("the", "a", 0.0),  # nothing is left of either
    ],
)
def test_f1_on_worked_examples(guess, gold, wanted):
    """Precision and recall by hand from ParlAI's published formula."""
    assert f1(guess, gold) == pytest.approx(wanted)


@given(TEXT, TEXT)
def test_f1_is_even_handed_and_a_copy_of_the_gold_scores_1(a, b):
    assert f1(a, b) == pytest.approx(f1(b, a)) and 0 <= f1(a, b) <= 1
    assert f1(a, a) == (1.0 if normalized(a) else 0.0)


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 4))
def test_repeated_and_distinct_ngrams_are_those_of_nltk(tokens, n):
    """n-grams by nltk; seq-rep-n is 1 - different / all, distinct-n of one text different / all."""
    grams = list(ngrams(tokens, n))
    if not grams:
        assert seq_rep(tokens, n) is None
        return
    assert seq_rep(tokens, n) == pytest.approx(1 - len(set(grams)) / len(grams))
    assert distinct([tokens], n, len(tokens)) == pytest.approx(len(set(grams)) / len(grams))


def test_a_model_that_always_repeats_scores_as_such():
    assert seq_rep(words(LOOP), 4) > 0.85 and loops(words(LOOP))
    assert seq_rep(words("a b c d e"), 1) == 0 and seq_rep(words("a a a a a"), 1) == 0.8
    assert distinct([words(LOOP)] * 5, 1, 100) == 4 / 100
    assert metrics.overlaps([words(LOOP)] * 3) == [0, 1, 1]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("i do i do i do", True),
        ("well i like dogs. i like dogs. i like dogs.", True),
        ("no no no", False),
        ("no no no no", True),
        ("what?!?!?!?!?!", False),
        ("- - - - - - -", False),
        ("i do, i do, i don't", False),
        ("one two three", False),
        ("", False),
    ],
)
def test_what_a_loop_is(text, wanted):
    assert loops(words(text)) is wanted


def test_distinct_counts_a_fixed_number_of_words():
    """Longer replies do not score lower by being longer: both are cut at the same word; too few words give nothing."""
    assert distinct([["a", "b"], ["a", "b"], ["c", "d"]], 2, 6) == 2 / 3
    assert distinct([["a", "b"], ["a", "b"], ["c", "d"]], 1, 4) == 2 / 4
    assert distinct([["a", "b"], ["a", "b"], ["c", "d"]], 2, 3) == 1 / 1  # the third word has no second to it
    assert distinct([["a", "b"]], 1, 3) is None


def test_overlap_with_earlier_turns():
    turns = ["i like my two dogs", "do you?", "i like my cat", "so what", "quite new words", "i like my two"]
    assert metrics.overlaps([words(turn) for turn in turns]) == [0, 0, 1 / 2, None, 0, 1]


@pytest.mark.parametrize(
    ("reply", "last", "wanted"),
    [
        ("hi", "hi", False),
        ("how are you?", "How are you", True),
        ("i have two dogs and a cat", "well, i have two dogs and a cat at home", True),
        ("i have two dogs too, what are their names?", "i have two dogs", False),
        ("", "", False),
        ("nice", "nice", False),
    ],
)
def test_what_a_copy_is(reply, last, wanted):
    assert copies(reply, last) is wanted


@pytest.mark.parametrize(
    "text",
    ["[Human]: hi", "fine. [Bot]: yes", "good.\nHuman: and you?", "User: hi", "ok. Person 2: no", "x<|im_start|>user",
     "yes [INST] more", "<|endoftext|>", "### Human what", "sure!\nassistant: yes", "a</s>"],
)  # fmt: skip
def test_speaking_for_another_is_seen(text):
    assert impersonates(text)


@pytest.mark.parametrize(
    "text",
    ["i am human: flesh and blood", "the bot said: hi", "human", "two things: dogs", "i <3 you", "[sic]: ok", "a < b",
     "my user: a friend", "is it <|> or ||?", "hello"],
)  # fmt: skip
def test_plain_speech_is_not(text):
    assert not impersonates(text)


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    """Of 300 samples of 60 coin throws, the 95% interval holds the true share in 90 to 99%."""
    rng = random.Random(0)
    covered = 0
    for trial in range(300):
        low, high = interval([rng.random() < 0.3 for _ in range(60)], seed=trial, draws=400)
        covered += low <= 0.3 <= high
    assert 270 <= covered <= 297


def test_an_interval_of_a_ratio_weighs_units_by_their_size():
    """The bootstrap of sum / sum agrees with a plain loop in Python, and repeats for a seed."""
    rng = np.random.default_rng(1)
    above, below = rng.gamma(2.0, 3.0, 80), rng.gamma(2.0, 1.0, 80) + 0.5
    low, high = interval(above, below, seed=3, draws=4000)
    plain = []
    for _ in range(4000):
        picks = rng.integers(0, 80, 80)
        plain.append(sum(above[i] for i in picks) / sum(below[i] for i in picks))
    assert (low, high) == pytest.approx(tuple(np.quantile(plain, (0.025, 0.975))), rel=0.02)
    assert interval(above, below, seed=3) == interval(above, below, seed=3) != interval(above, below, seed=4)
    assert interval(above, statistic=np.median) == pytest.approx((np.median(above),) * 2, rel=0.5)
    with pytest.raises(ValueError, match="at least one"):
        interval([])


def test_quartiles():
    assert metrics.quartiles([1, 2, 3, 4, 5]) == (2, 3, 4)
