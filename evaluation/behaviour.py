"""
What people complain about, as numbers: replies that do not stop, repeat themselves, speak for the human or forget.

Each function asks a speaker (speakers.py) and gives Rows of the report card. The questions come from real
conversations and recall.py, drawn by a seed: the same for every model.
"""

import dataclasses
import itertools
import random
import statistics

from evaluation import metrics
from evaluation.metrics import words
from evaluation.prompting import LIMIT, LIMITS, MODES, ask
from evaluation.report import Row, mean, percent

TURNS = 20  # of the bot in a self-chat


def stop_rows(answers, gold, seed):
    """Rows on the ends and lengths of replies. answers: mode -> Answers; gold: the people's replies."""
    rows = []
    for mode, limit in [*itertools.product(MODES, LIMITS[-1:]), *(("sampled", limit) for limit in LIMITS[:-1])]:
        name = f"ended_{mode}" if limit == LIMIT else f"ended_{mode}_at_{limit}"
        ended = [answer.cut(limit)[1] for answer in answers[mode]]
        definition = f"Replies that end by themselves (end-of-turn) within {limit} new tokens, {mode}."
        label = f"ends within {limit} tokens, {mode}"
        rows.append(percent("Stops", name, label, ended, seed, better="higher", definition=definition))
    lengths = [len(words(answer.text)) for answer in answers["sampled"]]
    human = [len(words(text)) for text in gold]
    definition = "Words and marks of a sampled reply; beside it the people's replies to the same messages."
    for i, (name, label) in enumerate((("q1", "lower quartile"), ("median", "median"), ("q3", "upper quartile"))):
        low, high = metrics.interval(lengths, statistic=lambda drawn, i=i: metrics.quartiles(drawn)[i], seed=seed)
        value, theirs = metrics.quartiles(lengths)[i], metrics.quartiles(human)[i]
        more = {"unit": "words", "human": theirs, "definition": definition}
        rows.append(Row("Stops", f"length_{name}", f"length, {label}", value, low, high, len(lengths), **more))
    return rows, {"bot": lengths, "human": human}


def single_reply_rows(answers, prompts, gold, seed):
    """Rows on speaking for the human, echoing and silence, over greedy and sampled replies."""
    said = [
        (answer.text, messages[-1]["content"])
        for mode in answers.values()
        for answer, messages in zip(mode, prompts, strict=True)
    ]
    lasts = [messages[-1]["content"] for messages in prompts]
    checks = (
        (
            "impersonates",
            "speaks for the human",
            lambda text, last: metrics.impersonates(text),
            "A tag, or another speaker's turn, inside the reply.",
        ),
        (
            "copies",
            "copies the last message",
            metrics.copies,
            "The reply gives the human's last message back (at least 80% of it one run of that message).",
        ),
        ("empty", "says nothing", lambda text, last: not text.strip(), "The reply has no letter."),
    )
    return [
        percent(
            "Itself",
            name,
            label,
            [check(text, last) for text, last in said],
            seed,
            better="lower",
            human=mean([check(text, last) for text, last in zip(gold, lasts, strict=True)]),
            definition=f"{definition} Greedy and sampled replies of up to {LIMIT} tokens.",
        )
        for name, label, check, definition in checks
    ]


def repetition_rows(answers, gold, seed, n_words):
    """Rows on repetition within a reply, and on variety. n_words: how many the distinct n-grams are counted in."""
    rows, human = [], [words(text) for text in gold]
    for mode, found in answers.items():
        for n, limit in [*itertools.product((1, 2, 3), LIMITS[-1:]), *itertools.product((4,), LIMITS)]:
            values = [metrics.seq_rep(words(answer.cut(limit)[0]), n) for answer in found]
            name = f"seq_rep_{n}_{mode}" + ("" if limit == LIMIT else f"_at_{limit}")
            label = f"repeated {n}-grams at {limit} tokens, {mode}"
            definition = f"seq-rep-{n}: share of a reply's {n}-grams that it has said before, in words, {mode}."
            more = {"better": "lower", "human": mean([metrics.seq_rep(each, n) for each in human])}
            source = "Welleck et al. 2019"
            rows.append(percent("Repetition", name, label, values, seed, definition=definition, source=source, **more))
        for limit in LIMITS:
            values = [metrics.loops(words(answer.cut(limit)[0])) for answer in found]
            name = f"loops_{mode}" + ("" if limit == LIMIT else f"_at_{limit}")
            label = f"loops at {limit} tokens, {mode}"
            definition = f"Replies of up to {limit} tokens in which something stands three times running, {mode}."
            more = {"better": "lower", "human": mean([metrics.loops(each) for each in human])}
            rows.append(percent("Repetition", name, label, values, seed, definition=definition, **more))
        for n in (1, 2, 3):
            rows.append(
                variety_rows(f"distinct_{n}_{mode}", n, mode, [words(a.text) for a in found], human, n_words, seed)
            )
    return rows


def variety_rows(name, n, mode, texts, human, n_words, seed):
    """A Row of distinct-n over the first n_words of the replies, the mean over orders that chance lays them in."""
    rng, values = random.Random(f"{seed}/distinct"), []
    for _ in range(100):
        values.append(metrics.distinct(rng.sample(texts, len(texts)), n, n_words))
    label = f"distinct {n}-grams in {n_words} words, {mode}"
    definition = (
        f"distinct-{n}: different {n}-grams over all in {n_words} words of replies, {mode}; the mean and range of 100 "
        f"orders of the replies."
    )
    theirs = metrics.distinct(human, n, n_words)
    more = {"unit": "%", "better": "higher", "human": None if theirs is None else 100 * theirs}
    more |= {"definition": definition, "source": "Li et al. 2016"}
    if None in values:
        return Row("Repetition", name, label, None, note=f"the replies have fewer than {n_words} words", **more)
    values.sort()
    return Row(
        "Repetition", name, label, 100 * statistics.fmean(values), 100 * values[2], 100 * values[97], len(texts), **more
    )


def self_chats(speaker, conversations, n, sampling, seed, progress):
    """n chats of TURNS replies each way, the model on both sides; they begin with a real first message and persona."""
    rng = random.Random(f"{seed}/self-chats")
    openings = [
        (messages[: i + 1])
        for messages in conversations
        for i in (0, 1)
        if len(messages) > i and messages[i]["role"] == "user" and (i == 0 or messages[0]["role"] == "system")
    ]
    chats = [list(opening) for opening in rng.sample(openings, min(n, len(openings)))]
    sampling = dataclasses.replace(sampling, max_new_tokens=32)
    swapped = {"user": "assistant", "assistant": "user"}
    for turn in range(2 * TURNS - 1):
        if turn % 2 == 0:
            role, views = "assistant", chats
        else:  # the same model as the human, who has no persona
            role = "user"
            views = [
                [{**message, "role": swapped[message["role"]]} for message in chat if message["role"] != "system"]
                for chat in chats
            ]
        for chat, answer in zip(chats, ask(speaker, views, sampling, seed + turn, progress), strict=True):
            chat.append({"role": role, "content": answer.text or "..."})
    return chats


def overlaps(chat):
    """scores.overlaps of the bot's turns in a chat, percent aside."""
    return metrics.overlaps([words(message["content"]) for message in chat if message["role"] == "assistant"])[:TURNS]


def by_turn(found, seed):
    """The curve in percent by turn number, with intervals, of the overlaps of each chat."""
    columns = list(zip(*([*each, *[None] * TURNS][:TURNS] for each in found), strict=True))
    curve = {"x": [], "y": [], "low": [], "high": [], "n": []}
    for turn, column in enumerate(columns, start=1):
        counted = [value for value in column if value is not None]
        low, high = metrics.interval(counted, seed=seed) if counted else (None, None)
        bounds = [None if bound is None else 100 * bound for bound in (low, high)]
        for name, value in zip(curve, (turn, mean(counted), *bounds, len(counted)), strict=True):
            curve[name].append(value)
    return curve


def repeat_rows(chats, conversations, seed):
    """(Rows, curve) of how much of a turn the bot has said before, in self-chats; people's own turns beside it."""
    bot, human = [overlaps(chat) for chat in chats], [overlaps(chat) for chat in conversations[:500]]
    curve = by_turn(bot, seed)
    people = by_turn(human, seed)
    enough = [y if n >= 5 else None for y, n in zip(people["y"], people["n"], strict=True)]
    curve["human"] = {"x": people["x"], "y": enough}
    rows = []
    for name, label, first, last in (("early", "turns 2 to 10", 2, 10), ("late", "turns 11 to 20", 11, TURNS)):
        values = [value for each in bot for value in each[first - 1 : last]]
        theirs = mean([value for each in human for value in each[first - 1 : last]])
        definition = f"Share of the 3-grams of {label} that the bot said in an earlier turn of the same self-chat."
        more = {"better": "lower", "human": theirs, "definition": definition}
        rows.append(percent("Repetition", f"overlap_{name}", f"says again in {label}", values, seed, **more))
    return rows, curve
