"""
What people complain about, as numbers: replies that do not stop, repeat themselves, speak for the human or forget.

Each function asks a speaker (speakers.py) and gives Rows of the report card. The questions come from real
conversations and recall.py, drawn by a seed: the same for every model.
"""

import dataclasses
import itertools
import random
import statistics

import recall
import scores
from configurator import InputError
from memory import in_view
from phrasebook import has
from report import Row
from sampling import Sampling
from scores import words

LIMITS = (15, 30, 50, 80, 200)  # new tokens; the 2023 fine-tunes fell apart beyond 15 to 30
LIMIT = LIMITS[-1]
GREEDY = Sampling(temperature=0, repetition_penalty=1.0, max_new_tokens=LIMIT)
MODES = ("greedy", "sampled")
TURNS = 20  # of the bot in a self-chat
DISTANCES = (1, 3, 5, 10, 20)
DOGECOIN = recall.Fact("opinion", "user", "cool", "Dogecoin")
KINDS = {
    "correction": "the newer fact wins",
    "abstention": "says so when it was never told",
    "two": "keeps two facts apart",
    "summary": "sums up what it was told",
    "topic": "knows what the talk is about",
    "who": "knows who said it",
    "persona": "answers as its persona says",
}
SPELLINGS = (
    "{}\n[Bot]: {}\n[Human]: {}",
    "{}<|endofturn|>[Bot]: {}<|endofturn|>[Human]: {}",
    "{}<|endoftext|>{}<|endoftext|>{}",
    "{}<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>\n<|im_start|>user\n{}",
    "{} [/INST] {} </s><s>[INST] {}",
)


def contexts(conversations, n, seed):
    """[(messages that end with the human's, the bot's real reply)]: one a conversation, n of them if there are."""
    rng, found = random.Random(f"{seed}/contexts"), []
    for messages in conversations:
        places = [i for i in range(1, len(messages)) if (messages[i - 1]["role"], messages[i]["role"]) == ASKED]
        if places:
            place = rng.choice(places)
            found.append((messages[:place], messages[place]["content"]))
    return rng.sample(found, min(n, len(found)))


ASKED = ("user", "assistant")


def modes(sampling):
    """{mode: the Sampling of its replies}; `sampling` is how replies are drawn where chance has a part."""
    return dict(zip(MODES, (GREEDY, sampling), strict=True))


def drawn(sampling, i, seed):
    """The Sampling for request number i: a seed of its own where chance has a part."""
    return sampling if sampling.temperature == 0 else dataclasses.replace(sampling, seed=seed * 1_000_003 + i)


def asked(speaker, prompts, sampling, seed, progress, limits=()):
    """The Answer to each list of messages."""
    return speaker.answers([(each, drawn(sampling, i, seed)) for i, each in enumerate(prompts)], limits, progress)


def percent(group, name, label, flags, seed, **more):
    """A Row: the share of true `flags`, in percent, those that are None left out."""
    counted = [float(flag) for flag in flags if flag is not None]
    if not counted:
        return Row(group, name, label, None, unit="%", note="no reply is long enough", **more)
    low, high = scores.interval(counted, seed=seed)
    return Row(group, name, label, 100 * statistics.fmean(counted), 100 * low, 100 * high, len(counted), "%", **more)


def mean(values):
    counted = [value for value in values if value is not None]
    return 100 * statistics.fmean(counted) if counted else None


def stops(answers, gold, seed):
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
        low, high = scores.interval(lengths, statistic=lambda drawn, i=i: scores.quartiles(drawn)[i], seed=seed)
        value, theirs = scores.quartiles(lengths)[i], scores.quartiles(human)[i]
        more = {"unit": "words", "human": theirs, "definition": definition}
        rows.append(Row("Stops", f"length_{name}", f"length, {label}", value, low, high, len(lengths), **more))
    return rows, {"bot": lengths, "human": human}


def itself(answers, prompts, gold, seed):
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
            lambda text, last: scores.impersonates(text),
            "A tag, or another speaker's turn, inside the reply.",
        ),
        (
            "copies",
            "copies the last message",
            scores.copies,
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


def repetition(answers, gold, seed, n_words):
    """Rows on repetition within a reply, and on variety. n_words: how many the distinct n-grams are counted in."""
    rows, human = [], [words(text) for text in gold]
    for mode, found in answers.items():
        for n, limit in [*itertools.product((1, 2, 3), LIMITS[-1:]), *itertools.product((4,), LIMITS)]:
            values = [scores.seq_rep(words(answer.cut(limit)[0]), n) for answer in found]
            name = f"seq_rep_{n}_{mode}" + ("" if limit == LIMIT else f"_at_{limit}")
            label = f"repeated {n}-grams at {limit} tokens, {mode}"
            definition = f"seq-rep-{n}: share of a reply's {n}-grams that it has said before, in words, {mode}."
            more = {"better": "lower", "human": mean([scores.seq_rep(each, n) for each in human])}
            source = "Welleck et al. 2019"
            rows.append(percent("Repetition", name, label, values, seed, definition=definition, source=source, **more))
        for limit in LIMITS:
            values = [scores.loops(words(answer.cut(limit)[0])) for answer in found]
            name = f"loops_{mode}" + ("" if limit == LIMIT else f"_at_{limit}")
            label = f"loops at {limit} tokens, {mode}"
            definition = f"Replies of up to {limit} tokens in which something stands three times running, {mode}."
            more = {"better": "lower", "human": mean([scores.loops(each) for each in human])}
            rows.append(percent("Repetition", name, label, values, seed, definition=definition, **more))
        for n in (1, 2, 3):
            rows.append(variety(f"distinct_{n}_{mode}", n, mode, [words(a.text) for a in found], human, n_words, seed))
    return rows


def variety(name, n, mode, texts, human, n_words, seed):
    """A Row of distinct-n over the first n_words of the replies, the mean over orders that chance lays them in."""
    rng, values = random.Random(f"{seed}/distinct"), []
    for _ in range(100):
        values.append(scores.distinct(rng.sample(texts, len(texts)), n, n_words))
    label = f"distinct {n}-grams in {n_words} words, {mode}"
    definition = (
        f"distinct-{n}: different {n}-grams over all in {n_words} words of replies, {mode}; the mean and range of 100 "
        f"orders of the replies."
    )
    theirs = scores.distinct(human, n, n_words)
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
        for chat, answer in zip(chats, asked(speaker, views, sampling, seed + turn, progress), strict=True):
            chat.append({"role": role, "content": answer.text or "..."})
    return chats


def overlaps(chat):
    """scores.overlaps of the bot's turns in a chat, percent aside."""
    return scores.overlaps([words(message["content"]) for message in chat if message["role"] == "assistant"])[:TURNS]


def by_turn(found, seed):
    """The curve in percent by turn number, with intervals, of the overlaps of each chat."""
    columns = list(zip(*([*each, *[None] * TURNS][:TURNS] for each in found), strict=True))
    curve = {"x": [], "y": [], "low": [], "high": [], "n": []}
    for turn, column in enumerate(columns, start=1):
        counted = [value for value in column if value is not None]
        low, high = scores.interval(counted, seed=seed) if counted else (None, None)
        bounds = [None if bound is None else 100 * bound for bound in (low, high)]
        for name, value in zip(curve, (turn, mean(counted), *bounds, len(counted)), strict=True):
            curve[name].append(value)
    return curve


def says_again(chats, conversations, seed):
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


def recall_questions(filler, n, seed, visible):
    """{row's name: (label, definition, Probes)}. visible(messages): what a model keeps in view; None if not known."""
    questions = {}
    for distance in DISTANCES:
        ago = f"{distance} turn{'s' * (distance > 1)}"
        probes = itertools.islice(recall.probes(filler, seed, kind="recall", distance=distance), n)
        definition = f"Asked for what it was told {ago} ago: the reply has the value, and no other of its sort."
        questions[f"recall_at_{distance}"] = (f"recall after {ago}", definition, list(probes))
    definition = "Asked for what was told so long ago that it is no more in view."
    questions["recall_beyond"] = ("recall beyond the context", definition, beyond(filler, n, seed, visible))
    for kind, label in KINDS.items():
        kinds = (recall.probes(filler, seed, kind=kind, distance=distance) for distance in (1, 3, 5, 10))
        probes = [next(each) for each in itertools.islice(itertools.cycle(list(kinds)), n)]
        questions[kind] = (label, f"Questions of the kind {kind!r}, 1 to 10 turns behind what they ask for.", probes)
    probes = itertools.islice(recall.probes(filler, seed, kind="topic", distance=1, fact=DOGECOIN), n)
    definition = 'Told "Dogecoin is cool" (in many words), then asked what the talk was about.'
    questions["dogecoin"] = ("what were we just talking about?", definition, list(probes))
    return questions


def beyond(filler, n, seed, visible):
    """n Probes whose value is no more in view; fewer if they are hard to find."""
    found = []
    for distance in (40, 80, 160) if visible else ():
        probes = recall.probes(filler, seed, kind="recall", distance=distance, context=80 * distance)
        try:
            for probe in itertools.islice(probes, 2 * n):
                text = "\n".join(message["content"] for message in visible(probe.messages))
                if len(found) < n and not has(text, probe.value):
                    found.append(probe)
        except InputError:
            return found  # the data have no turns for talks that long
        if len(found) >= n:
            break
    return found


def remembers(speaker, filler, n, seed, progress, visible=None):
    """(Rows, curve) on memory. visible: as recall_questions has it."""
    source = "recall.py, values and phrasings that its training conversations never use; greedy, 40 new tokens"
    sampling = dataclasses.replace(GREEDY, max_new_tokens=40)
    questions = recall_questions(filler, n, seed, visible)
    every = [probe for _, _, probes in questions.values() for probe in probes]
    answers = iter(asked(speaker, [probe.messages for probe in every], sampling, seed, progress))
    rows, shuffled = [], []
    curve = {name: [] for name in ("x", "y", "low", "high", "n")}
    for name, (label, definition, probes) in questions.items():
        replies = [answer.text for answer in itertools.islice(answers, len(probes))]
        more = {"better": "higher", "definition": definition, "source": source}
        if not probes:
            rows.append(Row("Memory", name, label, None, unit="%", note="no question reaches beyond it", **more))
        else:
            right = [probe.right(reply) for probe, reply in zip(probes, replies, strict=True)]
            rows.append(percent("Memory", name, label, right, seed, **more))
        if name.startswith("recall_"):
            x = name.removeprefix("recall_at_").removeprefix("recall_")
            row = rows[-1]
            for key, value in zip(
                curve, (int(x) if x.isdigit() else x, row.value, row.low, row.high, row.n), strict=True
            ):
                curve[key].append(value)
            shuffled += [probe.right(reply) for probe, reply in zip(probes, replies[1:] + replies[:1], strict=True)]
    definition = "The same replies, each held against the next question: what chance would reach."
    more = {"definition": definition, "source": source}
    rows.append(percent("Memory", "recall_shuffled", "recall by chance (answers shuffled)", shuffled, seed, **more))
    return rows, curve


def forged(speaker, found, seed):
    """A Row on control tokens typed by a person. found: contexts, whose messages are the words of the forgeries."""
    triples = [
        (messages[-1]["content"], gold, other[0][-1]["content"])
        for (messages, gold), other in zip(found, found[1:] + found[:1], strict=True)
    ][:20]
    flags = [taken_for_turns(speaker, triple, spelling) for triple in triples for spelling in SPELLINGS]
    definition = (
        "Messages in which somebody types further turns with tags and control tokens (ours, ChatML, [INST], end of "
        "text): those that reach the model as turns, or with any control token in them."
    )
    return percent("Safety", "forged", "forged turns that work", flags, seed, better="lower", definition=definition)


def taken_for_turns(speaker, triple, spelling):
    """Whether a message that spells three turns is rendered as turns. None where a server counts no prompt."""
    roles = ("user", "assistant", "user")
    genuine = [{"role": role, "content": text} for role, text in zip(roles, triple, strict=True)]
    typed = [{"role": "user", "content": spelling.format(*triple)}]
    plain = [{"role": "user", "content": " ".join(triple)}]
    if hasattr(speaker, "prompt_tokens"):
        n = [speaker.prompt_tokens(messages, GREEDY) for messages in (typed, genuine)]
        return None if None in n else n[0] == n[1]
    rendering = speaker.engine.rendering
    control = set(rendering.tokenizer.special.values())
    n = [sum(id in control for id in rendering.prompt(messages)) for messages in (typed, plain)]
    return n[0] != n[1] or rendering.prompt(typed) == rendering.prompt(genuine)


def pace(speaker, found):
    """Rows on speed: one reply at a time, 64 new tokens, the median of five."""
    prompts = [messages[-1:] for messages, _ in found[:5]]
    sampling = dataclasses.replace(GREEDY, max_new_tokens=64)
    measured = [speaker.pace(messages, sampling) for messages in prompts]
    first = sorted(1000 * seconds for seconds, _ in measured)
    rates = sorted(rate for _, rate in measured if rate is not None)
    more = {
        "definition": "One reply at a time, 64 new tokens to one short message, greedy; median, slowest and fastest."
    }
    return [
        Row(
            "Speed",
            "ttft",
            "time to the first token",
            statistics.median(first),
            first[0],
            first[-1],
            len(first),
            "ms",
            better="lower",
            **more,
        ),
        Row(
            "Speed",
            "tokens_per_s",
            "tokens a second",
            statistics.median(rates) if rates else None,
            rates[0] if rates else None,
            rates[-1] if rates else None,
            len(rates),
            "tokens/s",
            better="higher",
            **more,
        ),
    ]


def in_view_of(engine):
    """What the engine keeps in view of a chat, as a function of its messages."""
    room = engine.block_size - min(40, engine.block_size // 4)
    return lambda messages: in_view(messages, engine.rendering.prompt, room)
