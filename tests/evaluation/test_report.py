"""
A report is read as it was written, says of each figure what it is, never breaks on what could not be measured, and its
gate closes on what fell short and on nothing else.
"""

import dataclasses
import json

import pytest

from evaluation import report
from evaluation.gate import read_limits, shortfalls
from evaluation.plots import plot_report
from evaluation.rows import Row
from runtime.errors import InputError

ROWS = [
    Row("Fit", "perplexity", "perplexity", 1234.5, 1200.0, 1300.0, 100, "", "lower", definition="exp(loss)"),
    Row("Stops", "ended", "ends by itself", 87.5, 80.0, 95.25, 40, "%", "higher", definition="a | b", source="us"),
    Row("Stops", "length", "length, median", 8.0, 7.0, 9.0, 40, "words", None, human=11.0, definition="words"),
    Row("Memory", "recall_at_1", "recall", None, unit="%", better="higher", definition="asked", note="no <data>"),
]


def content(name="ours", value=87.5, samples=()):
    rows = [dataclasses.replace(row, value=value) if row.name == "ended" else row for row in ROWS]
    return {
        "format": report.FORMAT,
        "model": {"name": name, "folder": f"out/{name}", "parameters": 13_900_000, "rendering": "tags"},
        "data": {"folder": "data/chitchat", "tokenizer": "abc", "conversations": 426},
        "settings": {"n": 4, "seed": 1},
        "machine": "Linux, 2 cores",
        "rows": [dataclasses.asdict(row) for row in rows],
        "curves": {
            "recall": {"x": [1, 5, "beyond"], "y": [50.0, None, 10.0], "low": [40.0, None, 0.0],
                       "high": [60.0, None, 20.0]},
            "overlap": {"x": [1, 2], "y": [0.0, 5.0], "low": [0.0, 1.0], "high": [0.0, 9.0],
                        "human": {"x": [1], "y": [None]}},
            "lengths": {"bot": [1, 2, 2, 9], "human": [4, 5]},
        },
        "samples": list(samples),
    }  # fmt: skip


def test_the_table_as_people_see_it():
    shown = report.table(content(), content("before", 3.25)).splitlines()
    assert shown[0].split() == ["ours", "95%", "interval", "n", "before", "people"]
    assert [line.split() for line in shown if line.startswith("ends")] == [
        ["ends", "by", "itself", "87.5%", "80.0", "to", "95.2", "40", "3.2%"]
    ]
    assert [line.split()[-2:] for line in shown if line.startswith("length")] == [["11", "words"]]
    assert [line.split() for line in shown if line.startswith("recall")] == [["recall", "-", "-"]]
    assert {"Fit", "Stops", "Memory"} <= set(shown) and max(map(len, shown)) <= 110


def test_what_is_written_is_read(tmp_path):
    """JSON that holds only what JSON can; the same report gives the same bytes; the folder is made."""
    whole = content()
    whole["rows"][0]["value"] = float("inf")
    report.write_report(tmp_path / "new", whole)
    again = report.read_report(tmp_path / "new")
    assert again["rows"][0]["value"] is None and again["rows"][1:] == json.loads(json.dumps(whole["rows"][1:]))
    first = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    report.write_report(tmp_path / "new", whole)
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    assert set(first) == {"report.json", "report.md", "report.png"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}', '{"format": 1}'])
def test_a_damaged_report_says_how_to_make_it_anew(tmp_path, text):
    (tmp_path / "report.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="report.json.*evaluate.py"):
        report.read_report(tmp_path)


def test_every_row_is_explained_and_nothing_breaks_the_page():
    """Each definition stands in the page; marks in a text cannot end a table, a tag or a transcript."""
    said = {"role": "user", "content": "``` ```` # not a heading\n<b>"}
    page = report.markdown(content(samples=[{"title": "one", "messages": [said], "note": "gold"}]))
    for row in ROWS:
        assert row.definition.replace("|", "\\|") in page and f"`{row.name}`" in page
    assert "a \\| b" in page and "no &lt;data>" in page
    assert "`````text\n[Human]: ``` ```` # not a heading\n<b>\n(gold)\n`````" in page


@pytest.mark.parametrize("missing", [(), ("recall",), ("recall", "overlap", "lengths")])
def test_the_plot_is_drawn_whatever_was_measured(tmp_path, missing):
    whole = content()
    whole["curves"] = {name: curve for name, curve in whole["curves"].items() if name not in missing}
    plot_report(tmp_path / "one.png", whole)
    plot_report(tmp_path / "two.png", content(), whole)
    assert (tmp_path / "one.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "two.png").stat().st_size > 20_000


def test_limits_are_read_with_their_lines(tmp_path):
    path = tmp_path / "limits.txt"
    path.write_text("# what must hold\n\nended, 50  # half\nperplexity,2e3\n", encoding="utf-8")
    assert read_limits(path) == [("ended", 50.0, 3), ("perplexity", 2000.0, 4)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ended 5", ":1: a line is"),
        ("a, 1\nended, x", ":2: a line is"),
        ("ended, nan", ":1:"),
        ("a, 1\na, 2", ":2: a has"),
    ],
)
def test_a_wrong_limit_is_one_line(tmp_path, text, said):
    path = tmp_path / "limits.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=f"limits.txt{said}"):
        read_limits(path)


def test_what_falls_short():
    """Below a lower limit, above an upper one, or not measured; a figure without better or worse has no limit."""

    def short(*limits):
        return shortfalls(content(), [(*limit, 1) for limit in limits], "f")

    assert short(("ended", 87.5), ("perplexity", 1234.5)) == []
    assert short(("ended", 90)) == ["ended is 87.5%, at least 90 is asked (f:1)"]
    assert short(("perplexity", 1000)) == ["perplexity is 1,234, at most 1000 is asked (f:1)"]
    assert short(("recall_at_1", 1)) == ["recall_at_1 was not measured (no <data>), at least 1 is asked (f:1)"]
    with pytest.raises(InputError, match="did you mean recall_at_1"):
        short(("recall_at_2", 1))
    with pytest.raises(InputError, match="the aim is people's own figure"):
        short(("length", 1))
