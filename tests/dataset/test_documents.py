"""
Documents, which are no conversations: books, and rows of ids. All of their words are learned, once an epoch, and a
mixture takes them as it takes talks.
"""

import json
import lzma

import numpy as np
import pytest
from conftest import DIALOGUES, script

from dataset import copying
from dataset.folder import open_meta, open_split, read_conversations, read_records
from dataset.loader import Loader
from dataset.packing import find_segments
from dataset.prepare import PrepareConfig, prepare_folder
from runtime.errors import InputError

ABOUT = {"name": "test", "licence": "MIT", "url": "none"}
TALKS = [{"messages": [{"role": role, "content": text} for role, text in talk]} for talk in DIALOGUES]
BOOK = " ".join(f"The {i} cats went home, and Rex slept." for i in range(200))


@pytest.fixture
def mixed(tmp_path):
    """A folder of two talks and a book, with its tokenizer and its train split."""
    records = [*({**talk, "split": "train"} for talk in TALKS), {"text": BOOK, "split": "train"}]
    settings = PrepareConfig(out_dir=str(tmp_path / "a"), tokenizer="train:300")
    prepare_folder(settings, "", lambda settings, skipped: iter(records), ABOUT)
    _, tokenizer = open_meta(tmp_path / "a")
    return tmp_path / "a", tokenizer, open_split(tmp_path / "a", "train", tokenizer)


def test_a_document_comes_back_word_for_word(mixed):
    """Written and read again it is the same text, beside the talks, and it has no tag in it."""
    folder, tokenizer, _ = mixed
    records = list(read_records(folder, "train"))
    assert [record.get("text") for record in records] == [None, None, BOOK]
    assert list(read_conversations(folder, "train")) == [talk["messages"] for talk in TALKS]


def test_all_of_a_document_is_learned_once(mixed):
    """In rows of 64, whatever their order, each token of the book is a target exactly once an epoch."""
    _, tokenizer, split = mixed
    start, end = split.starts[2:4]
    targets = np.zeros(len(split.ids), dtype=int)
    for head, body, begin, stop in find_segments(split, 64, tokenizer):
        if begin >= start:
            assert stop - begin + body - head <= 65 and (head == body or split.ids[head] == tokenizer.endoftext)
            targets[(begin if body > head else begin + 1) : stop] += 1
    assert (targets[start + 1 : end] == 1).all() and not targets[:start].any()
    batches = Loader(split, 128, tokenizer).epoch(4)
    assert sum(batch.n_supervised for batch in batches) == split.supervised.sum()


def test_a_mixture_takes_documents(mixed, tmp_path):
    """Two epochs of the folder hold the book twice, with tokens that were learned from it too."""
    mix = script("mix")
    mix.prepare(mix.MixConfig(folders=(f"{mixed[0]}=1",), out_dir=str(tmp_path / "m"), tokenizer="gpt2", max_epochs=2))
    assert [record.get("text") for record in read_records(tmp_path / "m", "train")].count(BOOK) == 2


def test_books_in_files(tmp_path):
    """A text file is a document, a row of .jsonl.xz is one; what is neither is told with its line."""
    prose = script("prose")
    (tmp_path / "a.txt").write_text("Call me what you like.\n\nHe went.", encoding="utf-8")
    with lzma.open(tmp_path / "b.jsonl.xz", "wt", encoding="utf-8") as file:
        file.write(json.dumps({"text": BOOK, "book": "x"}) + "\n")
    files = [str(tmp_path / "a.txt"), str(tmp_path / "b.jsonl.xz")]
    prose.prepare(prose.ProseConfig(source=tuple(files), out_dir=str(tmp_path / "out"), val_share=0))
    texts = [record["text"] for record in read_records(tmp_path / "out", "train")]
    assert texts == ["Call me what you like.\n\nHe went.", BOOK]
    (tmp_path / "c.jsonl").write_text('{"text": "a"}\n{"book": "b"}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"c\.jsonl:2: a row is"):
        prose.prepare(prose.ProseConfig(source=(str(tmp_path / "c.jsonl"),), out_dir=str(tmp_path / "out")))
    assert len(list(read_records(tmp_path / "out", "train"))) == 2


@pytest.mark.parametrize("gapped", [0.0, 1.0])
def test_what_a_row_asks_can_be_known(gapped):
    """Each supervised symbol but the first of a repetition is the one that followed its predecessors before."""
    rng = np.random.default_rng(0)
    for length in (16, 64, 300):
        for _ in range(30):
            ids, supervised = copying.repeating_row(np.arange(1000), length, gapped, rng)
            assert len(ids) == len(supervised) == length and sum(supervised)
            seen = {}
            for i in range(2, length):
                known = seen.get(tuple(ids[i - 2 : i]))
                if supervised[i] and supervised[i - 1] and supervised[i - 2]:
                    assert known == ids[i]
                seen[tuple(ids[i - 2 : i])] = ids[i]


def test_drills_as_a_folder(mixed, tmp_path):
    """Rows keep their ids as they are drawn; talks ask for words, and the bot says the same words."""
    copy = script("copy")
    copy.prepare(copy.CopyConfig(count=60, length=48, tokenizer=str(mixed[0]), out_dir=str(tmp_path / "rows")))
    _, tokenizer = open_meta(tmp_path / "rows")
    split = open_split(tmp_path / "rows", "train", tokenizer)
    assert set(np.diff(split.starts)) == {49} and 0 < split.supervised.mean() < 1
    assert set(split.ids) & {*tokenizer.special.values()} == {tokenizer.endoftext} and max(split.ids) >= 256
    everybodys = Loader(split, 128, tokenizer, train_on="all").learned
    assert (everybodys == (split.supervised > 0) | (split.ids == tokenizer.endoftext)).all()  # noise teaches nothing
    with pytest.raises(ValueError, match="no text to learn tokens from"):
        copy.CopyConfig(tokenizer="train:300")
    copy.prepare(copy.CopyConfig(count=20, talk=True, tokenizer="gpt2", out_dir=str(tmp_path / "talk"), val_share=0))
    for messages in read_conversations(tmp_path / "talk", "train"):
        for question, answer in zip(messages[::2], messages[1::2], strict=True):
            assert answer["content"] in question["content"] and len(answer["content"].split()) >= 3


def test_probes_repeat_what_was_told():
    """The last SPAN tokens are the first, with the filler's own text between."""
    filler = np.arange(1000, 3000)
    probes = copying.copy_probes(np.arange(50), filler, 64, 8, np.random.default_rng(0))
    assert probes.shape == (8, 64 + 2 * copying.SPAN)
    assert (probes[:, : copying.SPAN] == probes[:, -copying.SPAN :]).all()
    assert (np.diff(probes[:, copying.SPAN : -copying.SPAN]) == 1).all()
