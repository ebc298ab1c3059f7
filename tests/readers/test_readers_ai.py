"""
Readers of finished AI conversations: each knows its own layout and no other, loses no message in silence, says nothing
that was not said, and answers any input with records or one InputError.
"""

import gzip
import io
import json
import tracemalloc
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from readers import alpaca, chatgpt, openai, sharegpt
from readers.archives import sources_at
from readers.source import Skipped, Source
from runtime.errors import InputError
from tokenization.chat_format import check

READERS = [sharegpt, openai, chatgpt, alpaca]


def node(name, parent, message, *children):
    return {name: {"id": name, "message": message, "parent": parent, "children": list(children)}}


def said(role, *parts, kind="text", **more):
    return {"id": "m", "author": {"role": role, "name": None, "metadata": {}}, "create_time": 1700000000.5, **more} | {
        "content": {"content_type": kind, "parts": list(parts)},
        "status": "finished_successfully",
    }


EXPORT = {
    "title": "Cheese",
    "create_time": 1700000000.1,
    "update_time": 1700000009.1,
    "mapping": {
        **node("root", None, None, "sys"),
        **node("sys", "root", said("system", "", metadata={"is_visually_hidden_from_conversation": True}), "about"),
        **node("about", "sys", {**said("user"), "content": {"content_type": "user_editable_context"}}, "q"),
        **node(
            "q",
            "about",
            said("user", {"content_type": "image_asset_pointer"}, "Which?", kind="multimodal_text"),
            "a",
            "b",
        ),
        **node("a", "q", said("assistant", "Brie."), "late"),
        **node("late", "a", said("user", "an answer that was abandoned")),
        **node("b", "q", said("assistant", "print(1)", kind="code", recipient="python"), "tool"),
        **node("tool", "b", said("tool", "1", kind="execution_output"), "c"),
        **node("c", "tool", said("assistant", "Gouda【4†source】. \ue200cite\ue202x\ue201", recipient="all"), "d"),
        **node("d", "c", said("user", "thanks")),
    },
    "current_node": "d",
}
FIXTURES = {
    sharegpt: [
        {"id": "x_0", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
        {
            "system": "Be kind.",
            "conversations": [
                {"from": "user", "value": "2+2?"},
                {"from": "function_call", "value": "add(2, 2)"},
                {"from": "assistant", "value": "4"},
            ],
        },
    ],
    openai: [
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
        {
            "messages": [
                {"role": "developer", "content": "Be kind."},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "2+2?"}, {"type": "image_url", "image_url": {"url": "x"}}],
                },
                {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
                {"role": "tool", "content": "4", "tool_call_id": "1"},
                {"role": "assistant", "content": "4", "weight": 1},
            ]
        },
    ],
    chatgpt: [EXPORT],
    alpaca: [
        {"instruction": "Say hi", "input": "", "output": "hi"},
        {"instruction": "Add", "input": "2, 2", "output": "4", "system": "Be kind.", "history": [["a?", "b"]]},
    ],
}
WHAT = {
    sharegpt: [["user: hi", "assistant: hello"], ["system: Be kind.", "user: 2+2?", "assistant: 4"]],
    openai: [["user: hi", "assistant: hello"], ["system: Be kind.", "user: 2+2?", "assistant: 4"]],
    chatgpt: [["user: Which?", "assistant: Gouda.", "user: thanks"]],
    alpaca: [
        ["user: Say hi", "assistant: hi"],
        ["system: Be kind.", "user: a?", "assistant: b", "user: Add\n\n2, 2", "assistant: 4"],
    ],
}
REASONS = {
    sharegpt: {"message from 'function_call'": 1},
    openai: {"part of type 'image_url'": 1, "tool call": 1, "message by role 'tool'": 1},
    chatgpt: {
        "system message": 1,
        "content of type user_editable_context": 1,
        "attachment (image_asset_pointer)": 1,
        "message to a tool": 1,
        "tool message": 1,
    },
    alpaca: {},
}
OTHERS = {
    "Telegram": {"name": "Ann", "type": "personal_chat", "messages": [{"id": 1, "from": "Ann", "text": "hi"}]},
    "Discord": {"guild": {}, "messages": [{"id": "1", "content": '"role": hi', "author": {"name": "A", "roles": []}}]},
    "Slack": [{"type": "message", "user": "U1", "text": '{"messages": [{"role": "user"}]}', "ts": "1.0"}],
    "nested PersonaChat": [{"personality": ["i run ."], "utterances": [{"history": ["hi"], "candidates": ["yo"]}]}],
    "flat PersonaChat": {"conv_id": 0, "utterance_idx": 0, "personality": [], "history": ["hi"], "candidates": ["a"]},
}
TEXTS = {
    "CSV": "instruction,output\nhi,ho\n",
    "WhatsApp": '[31.12.21, 10:30:00] Ann: {"messages": [{"role": "user", "content": "hi"}]}\n',
    "nothing": "",
    "rows of messages": '{"role": "user", "content": "hi"}\n{"role": "assistant", "content": "ho"}\n',
}


def source(data, name="chats"):
    return Source(name, lambda: io.BytesIO(data if isinstance(data, bytes) else data.encode()))


def layouts(rows):
    """The same rows as people store them."""
    return {
        "array": json.dumps(rows),
        "indented": json.dumps(rows, indent=2, ensure_ascii=False),
        "lines": "".join(json.dumps(row) + "\n" for row in rows),
        "windows": "\ufeff" + "\r\n".join(json.dumps(row) for row in rows),
    }


def read(reader, data, keep_going=False):
    """([["role: content", ...], ...], Skipped), each record checked."""
    skipped = Skipped(keep_going)
    found = [check(record, "fixture") for record in reader.records(source(data), skipped)]
    return [[f"{message['role']}: {message['content']}" for message in messages] for messages in found], skipped


@pytest.mark.parametrize("layout", ["array", "indented", "lines", "windows"])
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.NAME)
def test_reads_its_layout(reader, layout):
    """Each fixture gives exactly what was said in it, and tells the count of each reason for what it leaves out."""
    found, skipped = read(reader, layouts(FIXTURES[reader])[layout])
    assert found == WHAT[reader]
    assert dict(skipped) == REASONS[reader]
    assert all(place.startswith("chats") and place[5] in ":," for places in skipped.places.values() for place in places)


@pytest.mark.parametrize("layout", ["array", "indented", "lines", "windows"])
def test_each_recognises_its_own_and_no_other(layout):
    """Of the four readers exactly one claims each fixture, also where the head is cut within an item."""
    for reader in READERS:
        text = source(layouts(FIXTURES[reader])[layout]).head
        for cut in (text, text[: len(text) * 3 // 4]):
            assert [other.NAME for other in READERS if other.recognises(cut)] == [reader.NAME], cut[-60:]


@pytest.mark.parametrize("name", [*OTHERS, *TEXTS])
def test_claims_no_other_layout(name):
    """Chat logs and tables are nobody's here, also when people write JSON to each other."""
    texts = [TEXTS[name]] if name in TEXTS else [json.dumps(OTHERS[name]), json.dumps([OTHERS[name]], indent=1)]
    for text in texts:
        assert not [reader.NAME for reader in READERS if reader.recognises(text)]


def test_the_layouts_of_the_hubs_sets():
    """`conversations` with roles (EmpatheticDialogues) and a bare list on each line are `messages` too."""
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    for text in (json.dumps([{"conv_id": "1", "conversations": talk}]), (json.dumps(talk) + "\n") * 2):
        assert openai.recognises(text)
        assert read(openai, text)[0][0] == ["user: hi", "assistant: ho"]


def test_without_current_node_the_last_branch_is_read():
    """An export whose current_node is not there is read along its last branch, and that is told."""
    for lost in ({"current_node": None}, {"current_node": "gone"}):
        found, skipped = read(chatgpt, json.dumps([EXPORT | lost]))
        assert found == WHAT[chatgpt] and skipped["current_node is missing, the last branch is taken"] == 1


def test_a_tree_that_bites_its_tail_ends():
    """A damaged export whose root names a descendant as its parent is read once round."""
    mapping = EXPORT["mapping"] | {"root": EXPORT["mapping"]["root"] | {"parent": "d"}}
    assert read(chatgpt, json.dumps([EXPORT | {"mapping": mapping}]))[0] == WHAT[chatgpt]


@pytest.mark.parametrize(
    "line, expected",
    [
        ('{"messages": 3}', "wanted"),
        ('{"messages": [{"role": "user"}]}', "wanted"),
        ("{'messages': []}", "not JSON"),
        ('{"messages": ' + "[" * 5000, "not JSON"),
        ('{"messages": [{"role": "user", "content": 1e999}]}', "wanted"),
    ],
    ids=["number", "no content", "quotes", "deep", "infinite"],
)
def test_a_broken_line_is_named(line, expected):
    """A broken line is an InputError with its number; with --skip_errors the lines around it are kept."""
    good = json.dumps(FIXTURES[openai][0])
    with pytest.raises(InputError, match=f"^chats:2: .*{expected}.*--skip_errors"):
        read(openai, f"{good}\n{line}\n{good}\n")
    found, skipped = read(openai, f"{good}\n{line}\n{good}\n", keep_going=True)
    assert len(found) == 2 and sum(skipped.values()) == 1


def test_a_cut_array_keeps_what_was_whole():
    """An array that is cut off gives its whole items first, then one InputError that names the item."""
    text = json.dumps(FIXTURES[sharegpt] * 5)[:-40]
    with pytest.raises(InputError, match="chats"):
        read(sharegpt, text)
    assert len(read(sharegpt, text, keep_going=True)[0]) == 9


def test_odd_json_is_read_or_named():
    """NaN, doubled keys, lone surrogates and endless nesting give records or an InputError."""
    row = '{"id": NaN, "messages": 1, "messages": [{"role": "user", "content": "\\ud800 hi"}, {"role": "assistant", '
    row += '"content": "ho"}]}'
    assert read(openai, row + "\n")[0] == [["user: \ufffd hi", "assistant: ho"]]
    for reader in READERS:
        for text in ("[" + row + "]", "[" * 100_000, '{"a":' * 100_000, "[" + '{"messages":' * 60_000):
            reader.recognises(text[: 1 << 16])
            try:
                read(reader, text)
            except InputError:
                pass


def test_one_sided_and_empty_messages_are_told():
    """A conversation without a reply, and an empty message, are counted with their places."""
    rows = [{"instruction": "hm", "output": "  "}, {"instruction": "a", "output": "b", "history": [["", "x"]]}]
    found, skipped = read(alpaca, layouts(rows)["lines"])
    assert found == [["assistant: x", "user: a", "assistant: b"]]
    assert skipped.places["conversation in which only one side speaks"] == ["chats:1"]
    assert skipped["empty message"] == 2


@pytest.mark.parametrize("reader", [openai, sharegpt])
@pytest.mark.parametrize("name, no", [("weight", 0), ("weight", 0.0), ("train", False), ("loss", False)])
def test_a_reply_of_weight_0_keeps_it(reader, name, no):
    """OpenAI's weight, Axolotl's train, ms-swift's loss; it is counted, and anything but 0 and 1 is named."""
    role, text, speakers = (
        ("role", "content", ("user", "assistant")) if reader is openai else ("from", "value", ("human", "gpt"))
    )
    key = "messages" if reader is openai else "conversations"

    def records(weight, keep_going=False):
        weights = ({}, {name: weight}, {}, {name: 1}, {name: 0}, {})  # the human's is never learned
        talk = [{role: speakers[i % 2], text: str(i), **more} for i, more in enumerate(weights)]
        skipped = Skipped(keep_going)
        return list(reader.records_of_row({key: talk}, "a:1", skipped)), skipped

    ((record,), skipped) = records(no)
    assert [message.get("weight") for message in check(record)] == [None, 0, None, None, None, None]
    assert [str(line) for line in skipped.report()] == [
        "noted 1: message of weight 0, which is read and not learned (a:1)"
    ]
    with pytest.raises(InputError, match=f"a:1: {name} of a message must be 0 or 1, not 0.5"):
        records(0.5)
    assert records("some", keep_going=True)[0] == []


def test_zip_gz_and_utf16_are_opened(tmp_path):
    """The account's zip, a gzipped file and UTF-16 are read like the file itself."""
    text = json.dumps(FIXTURES[chatgpt])
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("conversations.json", text)
        archive.writestr("user.json", "{}")
    first, second = sources_at(tmp_path / "export.zip")
    assert chatgpt.recognises(first.head) and not chatgpt.recognises(second.head)
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "c.json").write_bytes(text.encode("utf-16"))
    for found in (first, *sources_at(tmp_path / "c.json.gz"), *sources_at(tmp_path / "c.json")):
        assert len(list(chatgpt.records(found, Skipped()))) == 1


@pytest.mark.parametrize("damage", ["gz", "zip"])
def test_a_damaged_archive_is_one_line(damage, tmp_path):
    """A gz that is cut off, and a zip whose bytes were changed, are an InputError."""
    path, text = tmp_path / f"a.{damage}", json.dumps(FIXTURES[openai] * 2000).encode()
    if damage == "gz":
        path.write_bytes(gzip.compress(text)[:-300])
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("a.json", text)
        path.write_bytes(path.read_bytes().replace(b"hello", b"jello"))
    with pytest.raises(InputError):
        for found in sources_at(path):
            openai.recognises(found.head)
            list(openai.records(found, Skipped()))


class Endless(io.RawIOBase):
    """A JSON array of n times the same item, never in memory as a whole."""

    def __init__(self, item, n):
        self.pieces = (part for i in range(n) for part in (b"," if i else b"[", item))
        self.rest = b""

    def readable(self):
        return True

    def readinto(self, into):
        while len(self.rest) < len(into) and (piece := next(self.pieces, None)) is not None:
            self.rest += piece
        size = min(len(into), len(self.rest))
        into[:size], self.rest = self.rest[:size], self.rest[size:]
        return size


def test_an_array_is_streamed():
    """Of an array of 24 MB no more than 3 MB are in memory at a time."""
    item = json.dumps(FIXTURES[openai][0] | {"id": "x" * 12_000}).encode()
    tracemalloc.start()
    big = Source("big", lambda: Endless(item, 2000))
    skipped = Skipped(keep_going=True)  # the array has no end
    assert sum(1 for _ in openai.records(big, skipped)) == 2000
    assert tracemalloc.get_traced_memory()[1] < 3e6
    tracemalloc.stop()


KEYS = st.sampled_from(
    "messages role content type text conversations from value id system mapping message author parts content_type "
    "parent children current_node root instruction input output history metadata recipient tool_calls".split()
)
WORDS = st.sampled_from(["user", "assistant", "human", "gpt", "system", "tool", "text", "code", "root", "all", "", " "])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=5),
    max_leaves=25,
)


def survives(text):
    for reader in READERS:
        reader.recognises(text)
        for keep_going in (False, True):
            try:
                read(reader, text.encode("utf-8", "surrogatepass"), keep_going)
            except InputError as error:
                assert str(error).count("\n") == 0


@settings(max_examples=120, deadline=None)
@given(st.lists(JSON, max_size=4), st.booleans(), st.booleans())
def test_any_json_gives_records_or_an_input_error(rows, lines, ascii):
    """Random JSON with the layouts' own keys never gives a traceback, and what is read passes conversation.check."""
    dumped = [json.dumps(row, ensure_ascii=ascii) for row in rows]
    survives("\n".join(dumped) if lines else "[" + ",".join(dumped) + "]")


@st.composite
def mutated(draw):
    """A fixture in which some value, somewhere, is another one, or which was damaged as text."""
    rows = json.loads(json.dumps(FIXTURES[draw(st.sampled_from(READERS))]))
    places = []
    stack = [rows]
    while stack:
        here = stack.pop()
        for key in here if isinstance(here, dict) else range(len(here)):
            places.append((here, key))
            stack += [here[key]] if isinstance(here[key], dict | list) else []
    for here, key in draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        here[key] = draw(JSON)
    text = draw(st.sampled_from(list(layouts(rows).values())))
    at = draw(st.integers(0, len(text)))
    return text[:at] + draw(st.sampled_from(["", "", "", "\0", '"', "]", "\ud800", "NaN"])) + text[at:]


@settings(max_examples=200, deadline=None)
@given(mutated())
def test_damaged_fixtures_give_records_or_an_input_error(text):
    """A fixture with values replaced or its text damaged never gives a traceback."""
    survives(text)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(min_size=1)), min_size=1, max_size=8))
def test_no_message_is_lost_or_given_to_another(talk):
    """Each message with a word in it comes out once, in order and by its speaker; of the rest it is told."""
    rows = [{"messages": [{"role": role, "content": text} for role, text in talk]}]
    shares = [{"conversations": [{"from": {"user": "human"}.get(role, "gpt"), "value": text} for role, text in talk]}]
    wanted = [f"{role}: {text.strip()}" for role, text in talk if text.strip()]
    both = {"user", "assistant"} == {role for role, text in talk if text.strip()}
    for reader, written in ((openai, rows), (sharegpt, shares)):
        found, skipped = read(reader, json.dumps(written))
        assert found == ([wanted] if both else [])
        assert skipped["empty message"] == sum(not text.strip() for _, text in talk)
        assert bool(skipped["conversation in which only one side speaks"]) != both
