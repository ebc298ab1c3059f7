"""
What train.py reads is what was said: nothing moves between train and val, nothing is lost in the packing, every batch
has something to learn, a run goes on where it stopped, and a folder that is not whole is refused.
"""

import itertools
import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import as_text
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset.dedup import is_validation, opening_key
from dataset.folder import FORMAT, Split, open_meta, open_split
from dataset.loader import Loader, unlikelihood_candidates
from dataset.packing import find_segments
from dataset.prepare import PrepareConfig, prepare_folder
from runtime.errors import InputError
from tokenization import chat_format
from tokenization import tokenizer as tokenizers
from tokenization.chat_format import render

ABOUT = {"name": "made up", "licence": "none", "url": "none"}
WORDS = "the a cat dog runs sleeps eats fish in my house every day with you and me".split()
BYTES = tokenizers.train(["abc"], 261)  # about a token a letter: long conversations from short texts


def in_val(messages, config):
    """Whether the split keeps a conversation, alone, for validation."""
    return bool(is_validation(np.array([opening_key(messages)], dtype=np.uint64), config.val_share, config.seed)[0])


def said(*texts, system=None, first="user"):
    """A record's messages, in turn."""
    roles = ["user", "assistant"] if first == "user" else ["assistant", "user"]
    talk = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return ([{"role": "system", "content": system}] if system else []) + talk


def made_up(n, seed=0, turns=(2, 14), words=(1, 12), system=True):
    """n conversations of random words: seven of ten with a persona, of 2 to 14 turns."""
    rng = random.Random(seed)
    for _ in range(n):
        texts = [" ".join(rng.choices(WORDS, k=rng.randint(*words))) for _ in range(rng.randint(*turns))]
        persona = " ".join(rng.choices(WORDS, k=15)) if system and rng.random() < 0.7 else None
        yield {"messages": said(*texts, system=persona)}


def split_of(conversations, tokenizer):
    """The Split that these conversations' messages make."""
    rendered = [render(messages, tokenizer) for messages in conversations]
    ids = np.array([id for ids, _ in rendered for id in ids], dtype=np.uint16)
    supervised = np.array([s for _, supervised in rendered for s in supervised], dtype=np.uint8)
    return Split(ids, supervised, np.append(np.flatnonzero(ids == tokenizer.endoftext), len(ids)))


def prepared(folder, records, **changes):
    records = list(records)
    config = PrepareConfig(**{"out_dir": str(folder), "tokenizer": "gpt2"} | changes)
    prepare_folder(config, SimpleNamespace(), lambda settings, skipped: iter(records), ABOUT)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("made_up"), made_up(600), val_share=0.2)


@pytest.fixture(scope="module")
def opened(folder):
    """(train, val, tokenizer) of 600 conversations."""
    _, tokenizer = open_meta(folder)
    return open_split(folder, "train", tokenizer), open_split(folder, "val", tokenizer), tokenizer


def documents(batch):
    """Each conversation of a Batch, without the padding, as ((inputs), (targets), [positions])."""
    for start, end in itertools.pairwise(batch.cu_seqlens.tolist()):
        if start < batch.n_filled:
            yield (
                tuple(batch.idx[0, start:end].tolist()),
                tuple(batch.targets[0, start:end].tolist()),
                batch.positions[0, start:end].tolist(),
            )


def test_the_files_hold_what_was_said(folder, opened):
    """train and val together are each conversation's render, once, in its order, and meta.json counts them."""
    train, val, tokenizer = opened
    expected = {"train": [], "val": []}
    for record in made_up(600):
        expected["val" if in_val(record["messages"], PrepareConfig(val_share=0.2)) else "train"].append(record)
    meta = json.loads((folder / "meta.json").read_text())
    for name, split in (("train", train), ("val", val)):
        renders = [render(record["messages"], tokenizer) for record in expected[name]]
        assert split.ids.tolist() == [id for ids, _ in renders for id in ids]
        assert split.supervised.tolist() == [s for _, supervised in renders for s in supervised]
        assert meta["splits"][name] == {
            "longest": max(len(ids) for ids, _ in renders),
            "conversations": len(renders),
            "turns": sum(len(record["messages"]) for record in expected[name]),
            "tokens": len(split.ids),
            "supervised": int(split.supervised.sum()),
        }
    assert meta["sources"][0] | ABOUT == meta["sources"][0] and meta["sources"][0]["conversations"] == 600
    assert meta["format"] == FORMAT and meta["tokenizer"] == {"name": "gpt2", "hash": tokenizer.hash}


def test_the_split_is_about_the_share_asked_for():
    """5% of many conversations fall to val, others with another seed."""
    talks = [record["messages"] for record in made_up(4000, turns=(4, 6))]
    first, second = ([in_val(talk, PrepareConfig(seed=seed)) for talk in talks] for seed in (1, 2))
    assert 0.04 < np.mean(first) < 0.06 and 0.04 < np.mean(second) < 0.06 and first != second
    assert not any(in_val(talk, PrepareConfig(val_share=0)) for talk in talks)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(min_size=1), min_size=3, max_size=9), st.text(), st.text())
def test_views_and_duplicates_stay_together(texts, one, other):
    """
    Whoever is the bot and whatever the persona, a dialogue falls to one side: also when the views end differently, as
    PersonaChat's do, where the one drops the last words. Its neighbours do not matter.
    """
    config = PrepareConfig(val_share=0.5)
    view = in_val(said(*texts, system=one), config)
    assert view == in_val(said(*texts, system=other, first="assistant"), config)
    assert view == in_val(said(*texts[:-1], first="assistant"), config)


def test_a_conversation_never_moves(tmp_path):
    """More data, or a limit, leave each conversation on its side."""
    records = list(made_up(200))
    meta, tokenizer = open_meta(prepared(tmp_path / "all", records, val_share=0.3))
    prepared(tmp_path / "few", records, val_share=0.3, limit=80)
    for name in ("train", "val"):
        few, all_ = (open_split(tmp_path / folder, name, tokenizer).ids.tolist() for folder in ("few", "all"))
        assert few and few == all_[: len(few)]


def test_segments_are_whole_where_they_fit(opened):
    """A conversation within the context is one segment, the whole of it."""
    train, _, tokenizer = opened
    whole = find_segments(train, 1024, tokenizer)
    assert whole[:, 2].tolist() == train.starts[:-1].tolist() and whole[:, 3].tolist() == train.starts[1:].tolist()
    assert (whole[:, 0] == whole[:, 1]).all()


def parts(messages, block_size, tokenizer=BYTES):
    """The ids of the segments of one conversation."""
    split = split_of([messages], tokenizer)
    return [
        split.ids[head:body].tolist() + split.ids[start:end].tolist()
        for head, body, start, end in find_segments(split, block_size, tokenizer)
    ]


def test_a_long_conversation_is_cut_at_turns():
    """Each part is a conversation: it opens as the whole does, with the system message, then a human turn."""
    talk = ["how are you?", "fine.", "and your dog?", "he sleeps.", "where?", "in my bed.", "again?", "yes!"]
    texts = [BYTES.decode(ids) for ids in parts(said(*talk, system="i have a dog."), 84)]
    begin = "<|endoftext|>[System]: i have a dog.\n"
    assert texts == [
        begin + "[Human]: how are you?\n[Bot]: fine.\n[Human]: and your dog?\n[Bot]: he sleeps.\n",
        begin + "[Human]: where?\n[Bot]: in my bed.\n[Human]: again?\n[Bot]: yes!\n",
    ]


def test_a_reply_longer_than_the_context_loses_its_end():
    """The question before it stays in view, what follows is not lost, and no end-of-turn is learned for it."""
    texts = [BYTES.decode(ids) for ids in parts(said("hi", "x" * 200, "what?", "sorry", system="be brief"), 48)]
    begin = "<|endoftext|>[System]: be brief\n"
    assert texts[0].startswith(begin + "[Human]: hi\n[Bot]: xxxx") and texts[0].endswith("x")
    assert texts[1:] == [begin + "[Human]: what?\n[Bot]: sorry\n"]


def test_a_persona_that_leaves_no_room_is_not_repeated():
    """A system message of more than half the context is only in the part where it stands."""
    talk = ["how are you?", "fine.", "and your dog?", "he sleeps."]
    texts = [BYTES.decode(ids) for ids in parts(said(*talk, system="p" * 50), 90)]
    assert texts == [
        f"<|endoftext|>[System]: {'p' * 50}\n[Human]: how are you?\n[Bot]: fine.\n",
        "<|endoftext|>[Human]: and your dog?\n[Bot]: he sleeps.\n",
    ]


def test_what_holds_nothing_to_learn_is_left_out():
    """A human's monologue longer than the context has parts without the bot's words: they are no segments."""
    texts = [BYTES.decode(ids) for ids in parts(said("x" * 500, "ok", "bye", "bye"), 64)]
    assert texts == ["<|endoftext|>[Bot]: ok\n[Human]: bye\n[Bot]: bye\n"]


TALKS = st.lists(
    st.builds(
        lambda texts, system, first: said(*texts, system=system, first=first),
        st.lists(st.integers(1, 120).map(lambda n: "x" * n), min_size=2, max_size=9),
        st.none() | st.integers(1, 90).map(lambda n: "s" * n),
        st.sampled_from(["user", "assistant"]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=300, deadline=None)
@given(TALKS, st.integers(8, 150))
def test_segments_of_any_conversations(talks, block_size):
    """
    Whatever the lengths: segments fit the context, open with <|endoftext|>, hold something to learn, and no token is in
    two of them but a system message that is repeated.
    """
    split = split_of(talks, BYTES)
    seen = np.zeros(len(split.ids), dtype=int)
    for head, body, start, end in find_segments(split, block_size, BYTES):
        assert 2 <= body - head + end - start <= block_size + 1
        assert split.supervised[start:end].any() and not split.supervised[head:body].any()
        ids = np.concatenate([split.ids[head:body], split.ids[start:end]])
        assert ids[0] == BYTES.endoftext and (ids == BYTES.endoftext).sum() == 1
        assert ids[1] in (BYTES.system, BYTES.human, BYTES.bot)
        seen[start:end] += 1
    assert seen.max(initial=0) <= 1


@settings(max_examples=100, deadline=None)
@given(TALKS, st.integers(8, 150), st.integers(1, 4))
def test_every_batch_has_something_to_learn(talks, block_size, batch_size):
    """No batch without a supervised token: its loss would be nothing divided by nothing."""
    split = split_of(talks, BYTES)
    if not len(find_segments(split, block_size, BYTES)):
        with pytest.raises(InputError, match="no conversation with words of the bot"):
            Loader(split, block_size, BYTES)
        return
    loader = Loader(split, block_size, BYTES)
    for _ in range(4):
        batch = loader.get_batch(batch_size)
        assert all(max(targets) >= 0 for _, targets, _ in documents(batch))
        assert batch.n_supervised > 0


def test_an_epoch_is_each_segment_once(opened):
    """Over an epoch the packed documents are exactly the segments: inputs, and as targets what is learned of them."""
    train, _, tokenizer = opened
    for block_size in (64, 256):
        loader = Loader(train, block_size, tokenizer, seed=3)
        found = sorted(tuple(doc[:2]) for batch in loader.epoch(8) for doc in documents(batch))
        expected = []
        for head, body, start, end in find_segments(train, block_size, tokenizer):
            ids = [*train.ids[head:body].tolist(), *train.ids[start:end].tolist()]
            learned = [*train.supervised[head:body], *train.supervised[start:end]]
            targets = [id if s else -1 for id, s in zip(ids[1:], learned[1:], strict=True)]
            expected.append((tuple(ids[:-1]), tuple(targets)))
        assert found == sorted(expected)


def test_positions_start_at_0_and_padding_is_not_learned(opened):
    """In each packed document positions count from 0; where there is none, there is nothing to learn."""
    train, _, tokenizer = opened
    for batch in Loader(train, 200, tokenizer).epoch(16):
        for ids, _, positions in documents(batch):
            assert positions == list(range(len(ids)))
        assert (batch.targets[0, batch.n_filled :] == -1).all()
        assert batch.cu_seqlens[0] == 0 and batch.cu_seqlens[-1] == batch.idx.size and batch.idx.size % 64 == 0
        assert batch.targets[0, batch.learned].min() >= 0 and len(batch.learned) == (batch.targets >= 0).sum()
        assert {name: array.dtype.name for name, array in batch.arrays.items()} == {
            **dict.fromkeys(("idx", "targets", "positions", "learned"), "int64"),
            "cu_seqlens": "int32",
        }


def test_nothing_is_padded():
    """At least 97% of a batch's tokens are conversations, also where a row of short context cannot be filled."""
    split = split_of([record["messages"] for record in made_up(3000)], BYTES)
    for block_size in (256, 1024):
        batches = list(Loader(split, block_size, BYTES).epoch(16))
        assert sum(batch.n_filled for batch in batches) / sum(batch.idx.size for batch in batches) > 0.97


def test_everybody_may_be_learned_from(opened):
    """train_on="all" has the same inputs, and every next token as its target."""
    train, _, tokenizer = opened
    bot, everybody = (Loader(train, 256, tokenizer, train_on=learn).get_batch(4) for learn in ("bot", "all"))
    assert np.array_equal(bot.idx, everybody.idx) and everybody.n_supervised == everybody.n_filled
    assert (everybody.targets[bot.targets >= 0] == bot.targets[bot.targets >= 0]).all()


def test_nobody_learns_what_has_weight_0():
    """Neither with train_on="bot" nor with "all", whose every other token is learned."""
    talk = said("hi", "bad words", "more", "good words", "end", "fine", "then", "weak")
    talk[1]["weight"] = talk[7]["weight"] = 0
    split = split_of([talk], BYTES)
    for learn, wanted in (("bot", " good words\n fine\n"), ("all", as_text(talk) + "\n")):
        batch = Loader(split, 256, BYTES, train_on=learn).get_batch(1)
        learned = BYTES.decode(batch.targets[batch.targets >= 0].tolist())
        assert learned == wanted.replace(" bad words\n", "").replace(" weak\n", "")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0, 1]), min_size=1, max_size=5), min_size=1, max_size=4), st.booleans())
def test_the_last_turn_alone(talks, document):
    """train_on="last" learns the last turn of each conversation that is not of weight 0; of a document all."""
    conversations = []
    for weights in talks:
        messages = said(*(f"words {i}" for i in range(2 * len(weights))))
        for message, weight in zip(messages[1::2], weights, strict=True):
            message.update({} if weight else {"weight": 0})
        conversations.append(messages)
    split = split_of(conversations, BYTES)
    if document:
        ids = [BYTES.endoftext, *BYTES.encode("a document")]
        split.ids = np.append(split.ids, ids).astype(np.uint16)
        split.supervised = np.append(split.supervised, [0] + [1] * (len(ids) - 1)).astype(np.uint8)
        split.starts = np.append(split.starts, len(split.ids))
    lasts = [max((i for i, weight in enumerate(weights) if weight), default=None) for weights in talks]
    wanted = [f" words {2 * last + 1}\n" for last in lasts if last is not None] + ["a document"] * document
    if not wanted:
        with pytest.raises(InputError, match="no conversation with words of the bot"):
            Loader(split, 256, BYTES, train_on="last")
        return
    learned = [
        BYTES.decode([id for id in targets if id >= 0])
        for batch in Loader(split, 256, BYTES, train_on="last").epoch(1)
        for _, targets, _ in documents(batch)
    ]
    assert sorted(learned) == sorted(wanted)


def same(a, b):
    return all(np.array_equal(vars(a)[name], vars(b)[name]) for name in vars(a))


def test_a_loader_is_decided_by_its_seed(opened):
    """The same seed draws the same batches, another seed, and another epoch, others."""
    train, _, tokenizer = opened
    a, b, c = (Loader(train, 256, tokenizer, seed=seed) for seed in (1, 1, 2))
    assert all(same(a.get_batch(4), b.get_batch(4)) for _ in range(40))  # more than an epoch
    assert not same(Loader(train, 256, tokenizer, seed=1).get_batch(4), c.get_batch(4))
    first, second = ([*documents(next(iter(a.epoch(4, epoch))))] for epoch in (0, 1))
    assert first != second
    assert Loader(train, 256, tokenizer, seed=-1).get_batch(1).n_supervised  # numpy alone would refuse it


@pytest.mark.parametrize("drawn", [1, 7, 60])
def test_a_loader_goes_on_where_it_stopped(opened, drawn):
    """rows_drawn is all that a resumed run needs, also in a later epoch and with another batch size."""
    train, _, tokenizer = opened
    before = Loader(train, 256, tokenizer)
    for _ in range(drawn):
        before.get_batch(3)
    after = Loader(train, 256, tokenizer, rows_drawn=before.rows_drawn)
    assert before.rows_drawn == after.rows_drawn == 3 * drawn
    for batch_size in (3, 5):
        assert same(before.get_batch(batch_size), after.get_batch(batch_size))


def test_ranks_share_the_rows(opened):
    """Of each draw the ranks get different rows, together those that one rank alone would draw; so too in an epoch."""
    train, _, tokenizer = opened
    alone = Loader(train, 256, tokenizer)
    ranks = [Loader(train, 256, tokenizer, rank=rank, world_size=3) for rank in range(3)]
    for _ in range(5):
        together = [doc for rank in ranks for doc in documents(rank.get_batch(2))]
        assert together == list(documents(alone.get_batch(6)))
    assert {rank.rows_drawn for rank in ranks} == {alone.rows_drawn}
    found = sorted(doc for rank in ranks for batch in rank.epoch(2) for doc in documents(batch))
    assert found == sorted(doc for batch in alone.epoch(2) for doc in documents(batch))


def damaged(folder, tmp_path):
    """A copy of the data folder to do harm to."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def meta_with(**changes):
    def change(folder):
        meta = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps(meta | changes))

    return change


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda folder: (folder / "meta.json").unlink(), "has no data (meta.json); make them"),
        (lambda folder: (folder / "meta.json").write_text("{"), "meta.json: damaged (Expecting property name"),
        (lambda folder: (folder / "meta.json").write_bytes(b"\xff"), "meta.json: damaged ("),
        (lambda folder: (folder / "meta.json").write_text("[]"), "is of format None, this is 1"),
        (meta_with(format=0), "is of format 0, this is 1"),
        (meta_with(tokenizer={}), "meta.json: damaged (KeyError('hash'))"),
        (meta_with(splits=[]), "meta.json: damaged (TypeError("),
        (meta_with(tokenizer={"hash": "0"}), "tokenizer.json is not the one the data were made with"),
        (lambda folder: (folder / "train.bin").write_bytes(b"\0\0"), "train.bin has 2 bytes, meta.json says "),
        (lambda folder: (folder / "val.sup").write_bytes(b""), "val.sup has 0 bytes, meta.json says "),
        (lambda folder: (folder / "train.sup").unlink(), "train.sup has 0 bytes, meta.json says "),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(folder, tmp_path, harm, message):
    """Stale, truncated or damaged data are named, with the command that makes them anew."""
    harm(damaged(folder, tmp_path))
    with pytest.raises(InputError) as error:
        open_meta(tmp_path)
    text = str(error.value)
    assert message in text and "\n" not in text
    assert text.endswith(": python data/chitchat/prepare.py")


def test_the_command_is_the_folders_own(folder, tmp_path):
    """Where prepare.py stands in the folder, it is the one to run."""
    (damaged(folder, tmp_path) / "prepare.py").write_text("")
    (tmp_path / "train.bin").write_bytes(b"")
    with pytest.raises(InputError, match=f"make it anew: python {tmp_path}/prepare.py$"):
        open_meta(tmp_path)


@pytest.mark.parametrize(
    "records, changes, message",
    [
        ([], {}, "made up: no conversation in it; nothing was written"),
        (made_up(3), {"val_share": 0.999999}, "all conversations fell to val; more of them, or a smaller --val_share"),
        (made_up(3), {"tokenizer": "train:"}, "--tokenizer=train:: write train:8192, the number of tokens"),
        (made_up(3), {"tokenizer": "train:²"}, "--tokenizer=train:²: write train:8192, the number of tokens"),
        (made_up(3), {"tokenizer": "train:20"}, "--tokenizer=train:20: between 261"),
        (made_up(3), {"tokenizer": "train:" + "9" * 5000}, "write train:8192, the number of tokens"),
        (made_up(3), {"tokenizer": ""}, "has no tokenizer"),
        ([{"messages": said("hi")}], {}, "made up, conversation 1: one-sided, no message by the assistant"),
        ([*made_up(2), {"messages": []}], {}, "made up, conversation 3: a conversation is"),
    ],
)
def test_a_preparation_that_fails_leaves_nothing(tmp_path, records, changes, message):
    """The reason in one line, and no folder; a folder that was there keeps its data."""
    records = list(records)
    with pytest.raises(InputError) as error:
        prepared(tmp_path / "new", records, **changes)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()
    prepared(tmp_path / "old", made_up(20))
    before = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()}
    with pytest.raises(InputError):
        prepared(tmp_path / "old", records, **changes)
    assert {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()} == before
    open_meta(tmp_path / "old")


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": -1}, {"val_share": 1.0}, {"val_share": -0.1}])
def test_settings_out_of_range(wrong):
    """--limit=0 and a val_share that leaves nothing are refused, with the value."""
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=rf"{name} \({value}\) must be"):
        PrepareConfig(**wrong)


def test_a_model_folders_tokenizer_is_taken(tmp_path, folder):
    """--tokenizer=FOLDER prepares with the tokenizer of that folder; train:N with one learned from the data."""
    meta, tokenizer = open_meta(prepared(tmp_path / "own", made_up(50), tokenizer="train:300"))
    assert tokenizer.n_vocab == 300 and meta["tokenizer"]["name"] == "bpe-300"
    again, _ = open_meta(prepared(tmp_path / "again", made_up(10), tokenizer=str(tmp_path / "own")))
    assert again["tokenizer"] == meta["tokenizer"]


def test_unlikely_tokens(tokens):
    """A fourth token that followed the same three of the bot's before, and others' tags; never the token itself."""
    messages = [
        {"role": "user", "content": "say it"},
        {"role": "assistant", "content": "a b c d e"},
        {"role": "user", "content": "a b c d e"},  # what the human says is no repetition of the bot's
        {"role": "assistant", "content": "a b c x a b c d"},
    ]
    ids, supervised = chat_format.render(messages, tokens)
    ids, supervised = np.array(ids), np.array(supervised)
    places, wrong = unlikelihood_candidates(ids, supervised[1:], tokens)
    (x,) = np.flatnonzero(ids == tokens.encode(" x")[-1])
    assert (x - 1, tokens.encode(" d")[-1]) in set(zip(places.tolist(), wrong.tolist(), strict=True))
    assert not (ids[places + 1] == wrong).any()
    assert set(places) == set(np.flatnonzero(supervised[1:]))
    tags = {tokens.human, tokens.system}
    assert all(tags <= set(wrong[places == place]) for place in set(places))
    assert tokens.encode(" e")[-1] not in set(wrong[places < x - 1])


def test_unlikely_tokens_of_a_batch(tokens, data_dir):
    """They are numbered among the learned tokens of the batch, in order."""
    split = open_split(data_dir, "train", open_meta(data_dir)[1])
    batch = Loader(split, 64, open_meta(data_dir)[1], unlikelihood=True).get_batch(2)
    numbers, ids = batch.unlikelihood_candidates
    assert (np.diff(numbers) >= 0).all() and set(numbers) == set(range(batch.n_supervised))
    assert not (batch.targets[batch.targets >= 0][numbers] == ids).any()
