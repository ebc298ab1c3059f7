"""Whether a model repeats itself: within a reply, over all replies, and in a long chat with itself."""

import dataclasses
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evaluation import metrics
from evaluation.backends import Answer, Backend
from evaluation.faults import TRIES, better, fault
from evaluation.metrics import words
from evaluation.prompting import LIMITS, ask
from evaluation.rows import Row, mean_percent, percent_row
from evaluation.settings import MAX_NEW_TOKENS, TURNS
from inference.settings import SamplingParams
from tokenization.chat_format import Message

SELF_CHAT_TOKENS = 32  # new tokens a turn at most, so that 20 turns each way are near a context of 1,024
ONE_TRY = 1_000_000  # is added to the seed of a reply that is tried again
SHUFFLES = 100  # orders of the replies that distinct-n is the mean of: which replies are counted is chance


def repetition_rows(answers: Mapping[str, Sequence[Answer]], gold: Sequence[str], seed: int, n_words: int) -> list[Row]:
    """
    Rows on repetition within a reply, and on variety over all of them. answers: mode -> the model's replies; gold: the
    people's replies to the same messages. n_words: the words of replies in which distinct n-grams are counted.
    """
    rows, human = [], [words(text) for text in gold]
    for mode, replies in answers.items():
        cuts = {limit: [words(answer.cut(limit)[0]) for answer in replies] for limit in LIMITS}
        for n, limit in [*((n, MAX_NEW_TOKENS) for n in (1, 2, 3)), *((4, limit) for limit in LIMITS)]:
            rows.append(
                percent_row(
                    "Repetition",
                    f"seq_rep_{n}_{mode}" + ("" if limit == MAX_NEW_TOKENS else f"_at_{limit}"),
                    f"repeated {n}-grams at {limit} tokens, {mode}",
                    [metrics.seq_rep(reply, n) for reply in cuts[limit]],
                    seed=seed,
                    better="lower",
                    human=mean_percent(metrics.seq_rep(reply, n) for reply in human),
                    definition=f"seq-rep-{n}: share of a reply's {n}-grams that it has said before, in words, {mode}.",
                    source="Welleck et al. 2019",
                )
            )
        for limit in LIMITS:
            rows.append(
                percent_row(
                    "Repetition",
                    f"loops_{mode}" + ("" if limit == MAX_NEW_TOKENS else f"_at_{limit}"),
                    f"loops at {limit} tokens, {mode}",
                    [metrics.loops(reply) for reply in cuts[limit]],
                    seed=seed,
                    better="lower",
                    human=mean_percent(metrics.loops(reply) for reply in human),
                    definition=f"Replies of up to {limit} tokens that say something three times running, {mode}.",
                )
            )
        whole = [words(answer.text) for answer in replies]
        rows += [distinct_row(n, mode, whole, human, n_words, seed) for n in (1, 2, 3)]
    return rows


def distinct_row(
    n: int, mode: str, replies: Sequence[list[str]], human: Sequence[list[str]], n_words: int, seed: int
) -> Row:
    """The Row of distinct-n over the first n_words of the replies (lists of words), laid end to end in many orders."""
    rng = random.Random(f"{seed}/distinct")
    shares = [metrics.distinct(rng.sample(replies, len(replies)), n, n_words) for _ in range(SHUFFLES)]
    values = sorted(share for share in shares if share is not None)
    measured = len(values) == SHUFFLES  # else the replies have fewer words
    human_share = metrics.distinct(human, n, n_words)
    return Row(
        "Repetition",
        f"distinct_{n}_{mode}",
        f"distinct {n}-grams in {n_words} words, {mode}",
        100 * statistics.fmean(values) if measured else None,
        100 * values[2] if measured else None,  # 95 of 100 orders lie between these two
        100 * values[97] if measured else None,
        n=len(replies) if measured else 0,
        unit="%",
        better="higher",
        human=None if human_share is None else 100 * human_share,
        definition=(
            f"distinct-{n}: different {n}-grams over all in {n_words} words of replies, {mode}; the mean and range of "
            f"{SHUFFLES} orders of the replies."
        ),
        source="Li et al. 2016",
        note="" if measured else f"the replies have fewer than {n_words} words",
    )


def self_chats(
    backend: Backend,
    conversations: Sequence[list[Message]],
    n: int,
    sampling: SamplingParams,
    seed: int,
    progress: Callable[[int], object],
    remember: Callable[[], Callable[[list[Message]], list[Message]]] | None = None,
    *,
    turns: int = TURNS,
) -> list[list[Message]]:
    """
    n chats of the model with itself, so many turns each way, fewer chats if there are fewer openings. Each opens with
    the first message of a real conversation, and its system message (the bot's persona) if it has one. A reply at fault
    is tried again, as by chat.py. remember: makes what a chat with memory has in view of the bot, called for each chat.
    """
    rng = random.Random(f"{seed}/self-chats")
    openings = [
        messages[: i + 1]
        for messages in conversations
        for i in (0, 1)
        if len(messages) > i and messages[i]["role"] == "user" and (i == 0 or messages[0]["role"] == "system")
    ]
    chats = [list(opening) for opening in rng.sample(openings, min(n, len(openings)))]
    sampling = dataclasses.replace(sampling, max_new_tokens=SELF_CHAT_TOKENS)
    in_views = [remember() if remember else list for _ in chats]
    for turn in range(2 * turns - 1):
        role = "assistant" if turn % 2 == 0 else "user"
        seen = chats if role == "assistant" else [seen_by_human(chat) for chat in chats]
        prompts = [in_view(chat) for in_view, chat in zip(in_views, seen, strict=True)] if role == "assistant" else seen
        replies = [answer.text for answer in ask(backend, prompts, sampling, seed + turn, progress)]
        for attempt in range(1, TRIES if sampling.temperature else 1):
            faulty = [i for i, reply in enumerate(replies) if fault(reply, seen[i])]
            again, new_seed = [prompts[i] for i in faulty], seed + turn + attempt * ONE_TRY
            others = ask(backend, again, sampling, new_seed, lambda n: None)
            for i, other in zip(faulty, others, strict=True):
                if better(replies[i], other.text, seen[i]):
                    replies[i] = other.text
        for chat, reply in zip(chats, replies, strict=True):
            chat.append({"role": role, "content": reply or "..."})
    return chats


def seen_by_human(chat: Sequence[Message]) -> list[Message]:
    """The chat with the roles swapped, for the same model as the human, who has no persona."""
    swapped = {"user": "assistant", "assistant": "user"}
    return [{**message, "role": swapped[message["role"]]} for message in chat if message["role"] != "system"]


def repeat_rows(
    chats: Sequence[list[Message]], conversations: Sequence[list[Message]], seed: int
) -> tuple[list[Row], dict[str, Any]]:
    """Rows, and the curve over turns, of how much of a turn the bot has said before, in self-chats and among people."""
    turns = max((len(said(chat)) for chat in chats), default=TURNS)
    bot, human = [overlaps(chat, turns) for chat in chats], [overlaps(chat, turns) for chat in conversations[:500]]
    people = overlap_curve(human, seed, turns)
    enough = [y if n >= 5 else None for y, n in zip(people["y"], people["n"], strict=True)]  # few talk that long
    curve: dict[str, Any] = {**overlap_curve(bot, seed, turns), "human": {"x": people["x"], "y": enough}}
    ends = [("early", 2, 10, human), ("late", 11, 20, human)]
    if turns > TURNS:
        ends.append(("long", TURNS + 1, turns, [overlaps(chat, turns) for chat in end_to_end(conversations, turns)]))
    rows = []
    for name, first, last, theirs in ends:
        rows.append(
            percent_row(
                "Repetition",
                f"overlap_{name}",
                f"says again in turns {first} to {last}",
                [share for shares in bot for share in shares[first - 1 : last]],
                seed=seed,
                better="lower",
                human=mean_percent(share for shares in theirs for share in shares[first - 1 : last]),
                definition=f"Share of the 3-grams of turns {first} to {last} the bot said before in its self-chat; "
                "a reply at fault is tried again, as by chat.py."
                + (" People's: their conversations laid end to end." if name == "long" else ""),
            )
        )
    return rows, curve


def end_to_end(conversations: Sequence[list[Message]], turns: int) -> list[list[Message]]:
    """Conversations one after another in as few chats as have so many turns of the bot; the rest is left out."""
    chats: list[list[Message]] = [[]]
    for conversation in conversations:
        if len(said(chats[-1])) >= turns:
            chats.append([])
        chats[-1] += conversation
    return [chat for chat in chats if len(said(chat)) >= turns]


def said(chat: Sequence[Message]) -> list[str]:
    """What the bot says in a chat."""
    return [message["content"] for message in chat if message["role"] == "assistant"]


def overlaps(chat: Sequence[Message], turns: int) -> list[float | None]:
    """metrics.overlaps of the bot's first turns in a chat, so many at most."""
    return metrics.overlaps([words(text) for text in said(chat)[:turns]])


def overlap_curve(chats: Sequence[list[float | None]], seed: int, turns: int) -> dict[str, list[Any]]:
    """The mean over chats of each turn's overlap, in percent: {"x": turn, "y": mean, "low", "high": interval, "n"}."""
    curve: dict[str, list[Any]] = {"x": [], "y": [], "low": [], "high": [], "n": []}
    for turn in range(1, turns + 1):
        shares = [chat[turn - 1] for chat in chats if len(chat) >= turn]
        counted = [share for share in shares if share is not None]
        low, high = metrics.interval(counted, seed=seed) if counted else (None, None)
        curve["x"].append(turn)
        curve["y"].append(mean_percent(counted))
        curve["low"].append(None if low is None else 100 * low)
        curve["high"].append(None if high is None else 100 * high)
        curve["n"].append(len(counted))
    return curve
