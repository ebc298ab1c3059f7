"""
Every layout in which PersonaChat is found gives the same records: the persona as system message, the right words in the
right mouth, the text as people write it. What is damaged is named with its line.
"""

import json
import re

import pytest
from conftest import ROOT, as_text, script

from dataset.prepare import PrepareConfig
from readers import parlai
from readers.source import Skipped
from runtime.errors import InputError
from tokenization.chat_format import check

PERSONACHAT = script("personachat")
SHARED = ROOT.parent / "shared" / "data" / "personachat"
BOTH = """\
1 your persona: i have two dogs .
2 your persona: i 'm a nurse .
3 partner's persona: i volunteer .
4 hi ! how are you ?\tgreat . relaxing with my two dogs .\t\tno .|great . relaxing with my two dogs .
5 nice , i do n't have any\tget one !
"""
MINE = "[System]: i have two dogs. i'm a nurse."
TALK = [
    "[Human]: hi! how are you?",
    "[Bot]: great. relaxing with my two dogs.",
    "[Human]: nice, i don't have any",
    "[Bot]: get one!",
]
PERSONA = ["i have two dogs .", "i 'm a nurse ."]
HISTORY = ["hi ! how are you ?", "great . relaxing with my two dogs .", "nice , i do n't have any"]
CANDIDATES = ["no , thanks", "get one !"]
NESTED = {
    "personality": PERSONA,
    "utterances": [
        {"history": HISTORY[:1], "candidates": ["no .", HISTORY[1]]},
        {"history": HISTORY, "candidates": CANDIDATES},
    ],
}
FLAT = [
    {
        "conv_id": 0,
        "utterance_idx": 0,
        "personality": PERSONA,
        "history": HISTORY[:1],
        "candidates": ["no", HISTORY[1]],
    },
    {"conv_id": 0, "utterance_idx": 1, "personality": PERSONA, "history": HISTORY, "candidates": CANDIDATES},
]
SECOND = {
    "conv_id": 1,
    "utterance_idx": 0,
    "personality": ["i swim ."],
    "history": ["hello"],
    "candidates": ["a", "b ?"],
}


def without_candidates(row):
    row = {name: value for name, value in row.items() if name != "candidates"}
    return row | {"utterances": list(map(without_candidates, row["utterances"]))} if "utterances" in row else row


def read(path, skipped=None):
    """The records of a file as people read them."""
    skipped = Skipped(keep_going=None) if skipped is None else skipped
    records = PERSONACHAT.conversations(PrepareConfig(source=(str(path),)), skipped)
    return [as_text(check(record)) for record in records]


@pytest.fixture
def file(tmp_path):
    def write(content, name="data"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        return path

    return write


def refused(path):
    with pytest.raises(InputError) as error:
        read(path)
    assert "\n" not in str(error.value)
    return str(error.value).replace(str(path), "FILE")


def test_parlai_lines_with_both_personas_give_both_views(file):
    """The one view has your persona, and you for the bot; the other the partner's, and the partner for the bot."""
    theirs = ["[System]: i volunteer."]
    theirs += [line.replace("[Human]", "X").replace("[Bot]", "[Human]").replace("X", "[Bot]") for line in TALK]
    assert read(file(BOTH)) == ["\n".join([MINE, *TALK]), "\n".join(theirs)]


def test_parlai_lines_without_the_partners_persona_give_one_view(file):
    """So too with one dialogue after another: a number that does not grow begins the next."""
    alone = BOTH.replace("3 partner's persona: i volunteer .\n", "")
    assert read(file(alone)) == ["\n".join([MINE, *TALK])]
    assert read(file(alone + "1 hi\thello\n" + alone)) == [
        "\n".join([MINE, *TALK]),
        "[Human]: hi\n[Bot]: hello",
        "\n".join([MINE, *TALK]),
    ]


def test_silence_is_no_message(file):
    """Where the partner said __SILENCE__, the bot begins."""
    assert read(file("1 your persona: i run .\n2 __SILENCE__\thi\n3 hello\tbye\n")) == [
        "[System]: i run.\n[Bot]: hi\n[Human]: hello\n[Bot]: bye"
    ]


@pytest.mark.parametrize("name", ["json", "jsonl", "splits", "parquet"])
@pytest.mark.parametrize("layout", ["nested", "flat"])
@pytest.mark.parametrize("gold", [True, False])
def test_rows_of_the_hub(file, tmp_path, name, layout, gold):
    """
    Nested and flat rows in each kind of file give each dialogue once, whole. The last candidate is the bot's reply;
    without candidates the history, which ends with the human, is all there is.
    """
    rows = [NESTED, {"personality": ["i swim ."], "utterances": [SECOND]}] if layout == "nested" else [*FLAT, SECOND]
    rows = rows if gold else list(map(without_candidates, rows))
    if name == "parquet":
        from pyarrow import Table, parquet

        parquet.write_table(Table.from_pylist(rows), tmp_path / "data")
    elif name == "jsonl":
        file("".join(json.dumps(row) + "\r\n" for row in rows))
    else:
        file(json.dumps(rows if name == "json" else {"train": rows[:-1], "validation": rows[-1:], "version": 1}))
    skipped = Skipped()
    whole = "\n".join([MINE, *(TALK if gold else TALK[:3])])
    assert read(tmp_path / "data", skipped) == [whole] + ["[System]: i swim.\n[Human]: hello\n[Bot]: b?"] * gold
    assert skipped == ({} if gold else {"only one of the two speaks": 1})


def test_splits_that_number_their_dialogues_alike(file):
    """Dialogue 0 of train and dialogue 0 of validation are two dialogues."""
    other = SECOND | {"conv_id": 0}
    assert len(read(file(json.dumps({"train": FLAT, "validation": [other]})))) == 2


def test_a_single_row(file):
    """One line of JSON lines is a file too."""
    assert read(file(json.dumps(NESTED))) == read(file(json.dumps([NESTED]), "b")) == ["\n".join([MINE, *TALK])]


def test_a_bot_that_begins(file):
    """The gold reply is the bot's, whoever began: the roles are counted from the end."""
    row = {"personality": [], "utterances": [{"history": ["hi", "hello"], "candidates": ["bye"]}]}
    assert read(file(json.dumps(row))) == ["[Bot]: hi\n[Human]: hello\n[Bot]: bye"]
    row = {"personality": [], "utterances": [{"history": ["__SILENCE__", "hi", "hello"], "candidates": ["bye"]}]}
    assert read(file(json.dumps(row))) == ["[Bot]: hi\n[Human]: hello\n[Bot]: bye"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_odd_text_files(file, end, mark):
    """A byte order mark, Windows' line ends, empty lines and a missing last line end change nothing."""
    content = mark + end + BOTH.replace("\n", end).rstrip() + end * 2
    assert read(file(content)) == read(file(BOTH, "plain"))
    assert read(file(mark + end + json.dumps([NESTED]), "json")) == ["\n".join([MINE, *TALK])]


def test_unicode_line_ends_within_json(file):
    """U+2028 within a text is no line end of JSON lines."""
    row = {"personality": [], "utterances": [{"history": ["a\u2028b\x85c"], "candidates": ["d"]}]}
    line = json.dumps(row, ensure_ascii=False)
    assert read(file(f"{line}\n{line}\n")) == ["[Human]: a b c\n[Bot]: d"] * 2


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "FILE: not PersonaChat: wanted ParlAI's lines"),
        (b"\x89PNG\x00\xff", "FILE: not PersonaChat: wanted ParlAI's lines"),
        ("hello there\n", "FILE: not PersonaChat: wanted ParlAI's lines"),
        (b"PAR1 and no more", "FILE, row 1: damaged parquet ("),
        (b"1 your persona: a\n2 hi\t\xff\n", "FILE:2: not utf-8 text (invalid start byte)"),
        ("1 your persona: a\nyes\thello\n", "FILE:2: a line begins with its number in the dialogue, not 'yes\\thello'"),
        ("1 your persona: a\n² hi\thello\n", "FILE:2: a line begins with its number in the dialogue, not '²'"),
        (f"1 hi\ta\n{'9' * 5000} hi\ta\n", f"FILE:2: a line begins with its number in the dialogue, not '{'9' * 20}'"),
        ("1 your persona: a\n2 hi\n", "FILE:2: a tab and a reply are missing (the file may be cut off)"),
        ("1 your persona: a\n2 hi\t \n", "FILE:2: a tab and a reply are missing (the file may be cut off)"),
        ('{"personality": [], "utt', "FILE: not JSON (Unterminated string"),
        (json.dumps(NESTED) + "\n{", "FILE:2: not JSON ("),
        ("[" * 100_000, "FILE:1: wanted valid JSON, but item 1 is not (nested more than 100 deep)"),
        ("[1]", "FILE, item 1: wanted personality, utterances or conv_id, history"),
        ("[null]", "FILE, item 1: wanted personality, utterances or conv_id, history"),
        ('["utterances"]', "FILE, item 1: wanted personality, utterances or conv_id, history"),
        ('[{"conv_id": 1}]', "FILE, item 1: wanted personality, utterances or conv_id, history"),
        (
            json.dumps([NESTED, {"personality": [], "utterances": []}]),
            "FILE, item 2: wanted personality, utterances or conv_id, history",
        ),
        (
            json.dumps([NESTED, {"utterances": [{"history": []}]}]),
            "FILE, item 2: wanted personality, utterances or conv_id, history",
        ),
        (
            json.dumps([{**FLAT[0], "history": [1, None]}]),
            "FILE, item 1: wanted personality, utterances or conv_id, history",
        ),
        (
            json.dumps([{**FLAT[0], "personality": "i run"}]),
            "FILE, item 1: wanted personality, utterances or conv_id, history",
        ),
    ],
)
def test_damage_is_named(file, content, message):
    """One line with the file, the line or row, and what would be right; never a traceback."""
    assert refused(file(content)).startswith(message)


def test_no_file(file, tmp_path):
    """A missing file is named; of a folder each file is read, as of every data set."""
    assert refused(tmp_path / "none") == "FILE: no such file or folder"
    assert read(file(BOTH).parent) == read(file(BOTH))


@pytest.mark.parametrize(
    "odd, fine",
    [
        ("hi , how are you ?", "hi, how are you?"),
        ("i 'm  fine . do n't ask !", "i'm fine. don't ask!"),
        ("it 's 5 % ( or $ 6 )", "it's 5% (or $6)"),
        ("rock ' n ' roll", "rock ' n ' roll"),
        ("already fine, isn't it? :) 3.5", "already fine, isn't it? :) 3.5"),
        ("i like it :) . you ?", "i like it :). you?"),
        ("wait ... what", "wait... what"),
        ("  ", ""),
    ],
)
def test_cleaned(odd, fine):
    """Text that was taken apart is put together; text that was not stays."""
    assert parlai.cleaned(odd) == fine
    assert parlai.cleaned(fine) == fine


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data are not here")
def test_real_files():
    """All of the real files is read: two views of 1,000 dialogues, one of 2,072, nothing skipped, no odd space left."""
    skipped = Skipped()
    both = read(SHARED / "valid_both_original_no_cands.txt", skipped)
    alone = read(SHARED / "train_partial_self_original_no_cands.txt", skipped)
    assert (len(both), len(alone), skipped) == (2000, 2072, {})
    assert not [text for text in both + alone if re.search(r"\w [,.?]|__", text)]
    for text in both + alone:
        assert text.startswith("[System]: ") and "\n[Bot]: " in text and "\n[Human]: " in text
