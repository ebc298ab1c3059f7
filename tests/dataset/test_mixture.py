"""
A mixture has the shares asked for, each talk once, near-duplicates on one side of the split, and tells its licences.
"""

import json
import random

import pytest
from conftest import script

from dataset import mixture
from dataset.folder import SPLITS, open_meta, read_conversations, read_records
from dataset.prepare import PrepareConfig, prepare_folder
from runtime.errors import InputError

mix = script("mix")
WORDS = "apple bridge candle dragon eagle forest garden hammer island jungle kitten lemon mirror needle orange".split()


def talk(rng, turns=6):
    """Messages of long, random utterances."""
    return [
        {"role": ("user", "assistant")[i % 2], "content": " ".join(rng.choices(WORDS, k=rng.randint(5, 9)))}
        for i in range(turns)
    ]


def folder(path, talks, licence="MIT", **changes):
    """A prepared data folder of these conversations."""
    settings = PrepareConfig(out_dir=str(path), tokenizer="train:300", **changes)
    about = {"name": path.name, "licence": licence, "url": "none"}
    prepare_folder(settings, "", lambda settings, skipped: ({"messages": one} for one in talks), about)
    return str(path)


def mixed(path, folders, **changes):
    """(meta, {split: conversations}) of the mixture of `folders`."""
    mix.prepare(mix.MixConfig(folders=tuple(folders), out_dir=str(path), tokenizer="train:300", **changes))
    meta, _ = open_meta(path)
    return meta, {split: list(read_conversations(path, split)) for split in SPLITS}


def said(messages):
    return [message["content"].lower() for message in messages if message["role"] != "system"]


def test_shares_are_kept_and_told(tmp_path, capsys):
    """Three to one of the tokens, and as many as the smaller allows; each line tells share, tokens and epochs."""
    rng = random.Random(1)
    a = folder(tmp_path / "a", [talk(rng) for _ in range(400)])
    b = folder(tmp_path / "b", [talk(rng) for _ in range(400)])
    meta, splits = mixed(tmp_path / "m", [f"{a}=3", f"{b}=1"])
    from_a = {tuple(said(one)) for split in SPLITS for one in read_conversations(a, split)}
    taken = [tuple(said(one)) in from_a for split in splits.values() for one in split]
    assert sum(taken) == 400 and 90 < len(taken) - 400 < 180
    printed = capsys.readouterr().out
    assert f"{a}: share 75.0%" in printed and "(1.00 epochs)" in printed and "(0.33 epochs)" in printed
    assert [source["name"] for source in meta["sources"]] == ["a", "b"]


def test_small_sources_may_come_twice_but_only_in_train(tmp_path):
    """With max_epochs the small source is repeated in train, never in val; a cap holds the large one back."""
    rng = random.Random(2)
    small = folder(tmp_path / "small", [talk(rng) for _ in range(60)])
    large = folder(tmp_path / "large", [talk(rng) for _ in range(300)])
    _, splits = mixed(tmp_path / "m", [f"{small}=1", f"{large}=1,10000"], max_epochs=2.0, val_share=0.2)
    counts = {split: [said(one) for one in talks] for split, talks in splits.items()}
    ours = {tuple(said(one)) for split in SPLITS for one in read_conversations(small, split)}
    for one in ours:
        times = counts["train"].count(list(one)), counts["val"].count(list(one))
        assert times in ((2, 0), (1, 0), (0, 1), (0, 0))
    assert any(counts["train"].count(list(one)) == 2 for one in ours)


def test_a_talk_of_two_sources_is_taken_once(tmp_path):
    """The same words under another persona, in other case and punctuation, are one talk."""
    rng = random.Random(3)
    talks = [talk(rng) for _ in range(50)]
    again = [
        [{"role": "system", "content": "i am ann."}]
        + [{**message, "content": message["content"].title() + " !"} for message in one]
        for one in talks
    ]
    folders = [folder(tmp_path / "a", talks) + "=1", folder(tmp_path / "b", again) + "=1"]
    meta, _ = mixed(tmp_path / "m", folders)
    assert sum(counts["conversations"] for counts in meta["splits"].values()) <= 51
    assert "said word for word before" in meta["skipped"]


@pytest.mark.parametrize("seed", range(5))
def test_near_duplicates_never_straddle(tmp_path, seed):
    """
    Talks that open differently but share most of what is said (a longer version, one with a new beginning, the other
    view) are all in train or all in val, though each alone would be dealt out by its own opening.
    """
    rng = random.Random(seed)
    talks = [talk(rng, 8) for _ in range(60)]
    longer = [talk(rng, 2) + one + talk(rng, 2) for one in talks]
    swapped = [
        [{**message, "role": {"user": "assistant", "assistant": "user"}[message["role"]]} for message in one[1:]]
        for one in talks
    ]
    folders = [folder(tmp_path / name, of) + "=1" for name, of in zip("abc", (talks, longer, swapped), strict=True)]
    _, splits = mixed(tmp_path / "m", folders, val_share=0.4, seed=seed, max_epochs=9.0)
    sides = {split: {text for one in of for text in said(one)} for split, of in splits.items()}
    assert sides["train"] and sides["val"]
    for one in talks:
        shared = said(one)[2:]
        assert not (set(shared) <= sides["train"] and set(shared) <= sides["val"])


def test_a_split_of_its_own_is_kept(tmp_path):
    """What a source put in val (recall's held-out values) is in the mixture's val."""
    rng = random.Random(4)
    records = [{"messages": talk(rng), "split": ("val", "train")[i % 3 > 0]} for i in range(60)]
    settings = PrepareConfig(out_dir=str(tmp_path / "own"), tokenizer="train:300")
    about = {"name": "own", "licence": "MIT", "url": "none"}
    prepare_folder(settings, "", lambda settings, skipped: iter(records), about)
    other = folder(tmp_path / "other", [talk(rng) for _ in range(60)])
    _, splits = mixed(tmp_path / "m", [f"{tmp_path / 'own'}=1", f"{other}=1"], max_epochs=2.0)
    held_out = [said(record["messages"]) for record in records if record["split"] == "val"]
    train = [said(one) for one in splits["train"]]
    assert not any(one in train for one in held_out)
    assert sum(one in held_out for one in map(said, splits["val"])) >= 15


def test_a_weight_of_0_survives(tmp_path):
    """What a folder does not learn its mixture does not learn either, in the middle of a turn too."""
    roles = ("user", "assistant", "assistant", "user", "assistant")
    weights = ({}, {"weight": 0}, {}, {}, {"weight": 0})
    messages = [{"role": role, "content": f"{role} {i}", **weights[i]} for i, role in enumerate(roles)]
    one = folder(tmp_path / "one", [messages], val_share=0)
    mixed(tmp_path / "m", [f"{one}=1"], val_share=0)
    (record,) = read_records(tmp_path / "m", "train")
    assert record["messages"] == messages


def test_rows_of_tokens_stay_as_they_are(tmp_path):
    """Copy drills are mixed id by id with talk in the same tokens, and refused where the tokens are others."""
    one = folder(tmp_path / "one", [talk(random.Random(i)) for i in range(20)])
    copy = script("copy")
    copy.prepare(copy.CopyConfig(count=20, length=60, tokenizer=one, out_dir=str(tmp_path / "rows")))
    folders = (f"{one}=1", f"{tmp_path / 'rows'}=1")
    with pytest.raises(InputError, match="has rows of tokens"):
        mixed(tmp_path / "m", folders, max_epochs=5)
    mix.prepare(mix.MixConfig(folders=folders, out_dir=str(tmp_path / "m"), tokenizer=one, max_epochs=5))
    rows = [record for record in read_records(tmp_path / "rows", "train") if "ids" in record]
    kept = [record for record in read_records(tmp_path / "m", "train") if "ids" in record]
    assert len(rows) == 19 and {str(record) for record in kept} == {str(record) for record in rows}
    special = open_meta(one)[1].special.values()
    assert max(i for row in rows for i in row["ids"]) > 256 and not {i for row in rows for i in row["ids"]} & {*special}


def test_licences_are_told_and_refused(tmp_path):
    """meta.json says whether all are permissive; --permissive refuses what is not, and names it."""
    rng = random.Random(5)
    free = folder(tmp_path / "free", [talk(rng) for _ in range(30)], "CC BY 4.0")
    closed = folder(tmp_path / "closed", [talk(rng) for _ in range(30)], "CC BY-NC 4.0")
    assert mixed(tmp_path / "m", [f"{free}=1"], permissive=True)[0]["permissive"] is True
    assert mixed(tmp_path / "n", [f"{free}=1", f"{closed}=1"])[0]["permissive"] is False
    with pytest.raises(InputError, match="closed: licence CC BY-NC 4.0; --permissive=false would take it"):
        mixed(tmp_path / "o", [f"{free}=1", f"{closed}=1"], permissive=True)
    assert json.loads((tmp_path / "n" / "meta.json").read_text())["sources"][1]["licence"] == "CC BY-NC 4.0"


@pytest.mark.parametrize("text", ["data", "=1", "data=", "data=x", "data=0", "data=-1", "data=1,2,3", "data=nan"])
def test_a_weight_is_a_number(text):
    """What cannot be read says how it is written."""
    with pytest.raises(InputError, match="write FOLDER=WEIGHT or FOLDER=WEIGHT,CAP"):
        mixture.plan((text,), 1.0)
