"""
The data sets: each prepare.py makes conversations of rows as the hub has them today and of the files as they were first
published, two views where two people talk; nothing is skipped in silence, and no input gives a traceback.
"""

import itertools
import json
import zipfile
from types import SimpleNamespace

import datasets
import pytest
from conftest import ROOT, script
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset.folder import open_meta
from dataset.prepare import PrepareConfig, prepare_folder
from readers import detokenize, openai, rows, summaries
from readers.source import Skipped
from runtime.errors import InputError
from tokenization.chat_format import check

SHARED = ROOT.parent / "shared" / "data"
TALK = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
PLAIN = ["user: hi", "assistant: hello"]


def flat(id, parent, role, text, **more):
    return {"message_id": id, "parent_id": parent, "role": role, "text": text, "lang": "en", "deleted": False, **more}


HUB = {  # set -> (id, rows as the hub has them, the conversations that are wanted)
    "synthetic_persona_chat": (
        "google/Synthetic-Persona-Chat",
        [
            {
                "user 1 personas": "I bake.\nI knit.",
                "user 2 personas": "I am a boy.",
                "Best Generated Conversation": "User 1: Hi !\nUser 2: Hello :)\nagain\n*User 1:* Bye",
            }
        ],
        [
            ["system: I am a boy.", "user: Hi!", "assistant: Hello :) again", "user: Bye"],
            ["system: I bake. I knit.", "assistant: Hi!", "user: Hello :) again", "assistant: Bye"],
        ],
    ),
    "dailydialog": (
        "OpenRL/daily_dialog",
        [{"dialog": ["Say , Jim , it ’ s late.Let ' s go . ", " I don't . "], "act": [1, 2], "emotion": [0, 0]}],
        [
            ["user: Say, Jim, it's late. Let's go.", "assistant: I don't."],
            ["assistant: Say, Jim, it's late. Let's go.", "user: I don't."],
        ],
    ),
    "empatheticdialogues": (
        "Estwld/empathetic_dialogues_llm",
        [{"conv_id": "hit:0_conv:1", "situation": "s", "emotion": "e", "conversations": TALK}],
        [PLAIN],
    ),
    "multi_session_chat": (
        "nayohan/multi_session_chat",
        [
            {
                "dataset": "MSC",
                "dialoug_id": 7,
                "session_id": session,
                "persona1": ["I run."] if session == 0 else ["I run.", "I ski."],
                "persona2": ["I am shy."],
                "dialogue": said,
                "speaker": ["Speaker 1", "Speaker 2"],
            }
            for session, said in enumerate([["hi", "hello"], ["back again", "welcome"]])
        ],
        [
            ["system: I am shy.", "user: hi", "assistant: hello", "user: back again", "assistant: welcome"],
            ["system: I run.", "assistant: hi", "user: hello", "assistant: back again", "user: welcome"],
        ],
    ),
    "blended_skill_talk": (
        "ParlAI/blended_skill_talk",
        [
            {
                "personas": ["i have three children .", "i am 46 ."],
                "additional_context": "",
                "previous_utterance": ["a?", "b"],
                "context": "empathetic_dialogues",
                "free_messages": ["c", "e"],
                "guided_messages": ["d", "f"],
            }
        ],
        [
            [
                "system: i have three children. i am 46.",
                *["user: a?", "assistant: b", "user: c", "assistant: d", "user: e", "assistant: f"],
            ],
            ["assistant: a?", "user: b", "assistant: c", "user: d", "assistant: e", "user: f"],
        ],
    ),
    "everyday_conversations": (
        "HuggingFaceTB/everyday-conversations-llama3.1-2k",
        [{"topic": "t", "subtopic": "s", "full_topic": "t/s", "completion": "", "token_count": 9, "messages": TALK}],
        [PLAIN],
    ),
    "smoltalk": (
        "HuggingFaceTB/smoltalk",
        [{"messages": [{"role": "system", "content": "Be brief."}, *TALK], "source": "x"}],
        [["system: Be brief.", *PLAIN]],
    ),
    "ultrachat": ("HuggingFaceH4/ultrachat_200k", [{"prompt": "hi", "prompt_id": "1", "messages": TALK}], [PLAIN]),
    "oasst": (
        "OpenAssistant/oasst2",
        [
            flat("r", None, "prompter", "hi"),
            flat("x", "a", "prompter", "more?"),  # a reply may stand before what it answers
            flat("a", "r", "assistant", "hello"),
            flat("b", "r", "assistant", "good day"),
            flat("c", "r", "assistant", "x", deleted=True),
            flat("y", "x", "assistant", "yes"),
            flat("u", "b", "prompter", "nobody answers"),
            flat("s", None, "prompter", "hola", lang="es"),
            flat("z", "gone", "assistant", "?"),
        ],
        [["user: hi", "assistant: hello", "user: more?", "assistant: yes"], ["user: hi", "assistant: good day"]],
    ),
    "dialogsum": ("knkarthick/dialogsum", [], []),
    "samsum": ("knkarthick/samsum", [], []),
}
LOCAL = sorted({*HUB, "topical_chat", "self_dialogue", "qmsum"})


def lines(records):
    return [[f"{m['role']}: {m['content']}" for m in check(record, "test")] for record in records]


def read(name, path, keep_going=False):
    """(conversations as lines, Skipped) of what prepare.py makes of a local file."""
    skipped = Skipped(keep_going)
    return lines(script(name).conversations(PrepareConfig(source=(str(path),)), skipped)), skipped


@pytest.fixture
def hub(monkeypatch):
    """datasets.load_dataset gives the rows of HUB in two splits, and tells what it was asked for."""
    asked = []

    def load_dataset(hub_id, config):
        asked.append((hub_id, config))
        found = next(found for id, found, _ in HUB.values() if id == hub_id)
        return {"train": found, "test": []}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


@pytest.mark.parametrize("name", HUB)
def test_rows_of_the_hub(name, hub):
    """Rows in the hub's columns of today become exactly these conversations; SmolTalk's needs its part's name."""
    id, _, wanted = HUB[name]
    assert lines(script(name).conversations(PrepareConfig(), Skipped())) == wanted
    assert hub == [(id, "all" if name == "smoltalk" else None)]


@pytest.mark.parametrize("name", [name for name in HUB if HUB[name][1]])
def test_rows_of_the_hub_from_a_file(name, tmp_path):
    """The hub's rows as JSON lines, JSON or parquet on this machine give the same as from the hub."""
    from pyarrow import Table, parquet

    _, found, wanted = HUB[name]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    parquet.write_table(Table.from_pylist(found), tmp_path / "a.parquet")
    for path in sorted(tmp_path.iterdir()):
        assert read(name, path)[0] == wanted


def test_what_oasst_leaves_out_is_told(hub):
    """Deleted messages, other languages and replies to nothing are counted."""
    skipped = Skipped()
    list(script("oasst").conversations(PrepareConfig(), skipped))
    assert dict(skipped) == {
        "reply to a message that is not there": 1,
        "deleted message, with what was replied to it": 1,
        "message not in English, with what was replied to it": 1,
        "question that nobody answered": 1,
    }


def test_oasst_trees(tmp_path):
    """A tree as JSON line gives every way from the root to a last answer."""
    leaf = {"role": "assistant", "text": "yes", "lang": "en", "replies": []}
    more = {"role": "prompter", "text": "more?", "lang": "en", "replies": [leaf]}
    first = {"role": "assistant", "text": "hello", "lang": "en", "replies": [more]}
    second = {"role": "assistant", "text": "good day", "lang": "en", "replies": []}
    tree = {
        "message_tree_id": "t",
        "prompt": {"role": "prompter", "text": "hi", "lang": "en", "replies": [first, second]},
    }
    for row in (tree, tree["prompt"]):
        (tmp_path / "t.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
        assert read("oasst", tmp_path / "t.jsonl")[0] == HUB["oasst"][2]


def test_dailydialog_zip(tmp_path):
    """The original zip: lines with __eou__ are read, the files of acts and emotions beside them are told."""
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr("train/dialogues_train.txt", "Hi , Tom . __eou__ I'm “ fine ” . You ? __eou__\n")
        archive.writestr("train/dialogues_act_train.txt", "2 1 \n")
    found, skipped = read("dailydialog", tmp_path / "train.zip")
    assert found[0] == ["user: Hi, Tom.", "assistant: I'm “fine”. You?"] and len(found) == 2
    assert dict(skipped) == {"file without dialogues": 1}


@pytest.mark.parametrize(
    "columns, row",
    [
        ("conv_id,utterance_idx,prompt,utterance,label", "{0},{1},p,{2},2"),
        ("conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags", "{0},{1},sad,p,9,{2},5|5,"),
    ],
)
def test_empathetic_csv(columns, row, tmp_path):
    """Both CSVs: an utterance a row, gathered by dialogue; _comma_ is a comma; a quote in the first one is a letter."""
    quote = '"so he said' if "speaker_idx" in columns else "so he said"
    said = [
        ("c:1", 1, "Today_comma_ I fell . :)"),
        ("c:1", 2, quote),
        ("c:2", 1, "hm"),
        ("c:2", 2, "ok"),
        ("c:3", 1, "?"),
    ]
    text = columns + "\n" + "".join(row.format(*parts) + "\n" for parts in said)
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    found, skipped = read("empatheticdialogues", tmp_path / "a.csv")
    assert found == [["user: Today, I fell. :)", f"assistant: {quote}"], ["user: hm", "assistant: ok"]]
    assert sum(skipped.values()) == 1  # c:3 has no reply


def test_sessions_of_the_same_two_are_one_conversation(tmp_path):
    """The original's files, one a session, are joined; so are ParlAI's, whose later files hold the earlier sessions."""
    turn = lambda speaker, text: {"id": speaker, "text": text}  # noqa: E731
    personas = [["I run."], ["I am shy."]]
    for session, (one, two) in enumerate([("hi", "hello"), ("back again", "welcome")], 1):
        row = {"dialog": [turn("bot_0", one), turn("bot_1", two)], "initial_data_id": "valid_7"}
        row["init_personachat"] = {"init_personas": personas}
        earlier = [{"dialog": [{"text": "hi"}, {"text": "hello"}]}] if session == 2 else []
        later = {"personas": personas, "metadata": {"initial_data_id": "valid_7"}, "previous_dialogs": earlier}
        later["dialog"] = [turn("Speaker 1", one), turn("Speaker 2", two)]
        for folder, content in (("original", row), ("parlai", later)):
            path = tmp_path / folder / f"session_{session}" / "valid.txt"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(content) + "\n", encoding="utf-8")
    for folder in ("original", "parlai"):
        assert read("multi_session_chat", tmp_path / folder)[0] == HUB["multi_session_chat"][2]
    assert read("multi_session_chat", tmp_path / "parlai" / "session_2")[0] == HUB["multi_session_chat"][2]


def test_blended_original(tmp_path):
    """The original JSON knows both personas."""
    row = {
        "personas": [["i ski ."], ["i run .", "i eat ."]],
        "free_turker_utterance": "a",
        "guided_turker_utterance": "b",
    }
    (tmp_path / "a.json").write_text(json.dumps([row | {"dialog": [[0, "c"], [1, "d"]]}]), encoding="utf-8")
    assert read("blended_skill_talk", tmp_path / "a.json")[0] == [
        ["system: i run. i eat.", "user: a", "assistant: b", "user: c", "assistant: d"],
        ["system: i ski.", "assistant: a", "user: b", "assistant: c", "user: d"],
    ]


def test_topical_and_self_dialogue(tmp_path):
    """Topical-Chat's object and both layouts of the Self-dialogue Corpus; what was turned down is told."""
    talk = [{"agent": "agent_1", "message": "hi", "sentiment": "Happy"}, {"agent": "agent_2", "message": "hello"}]
    (tmp_path / "t.json").write_text(json.dumps({"t_1": {"config": "A", "content": talk}}, indent=2), encoding="utf-8")
    both = [PLAIN, ["assistant: hi", "user: hello"]]
    assert read("topical_chat", tmp_path / "t.json")[0] == both
    (tmp_path / "s.jsonl").write_text('{"turns": ["hi", "hello"]}\n', encoding="utf-8")
    (tmp_path / "s.csv").write_text(
        'Answer.sentence1,Answer.sentence10,Answer.sentence2,Reject\n"hi","{}","hello",""\n"a","b","c","bad"\n',
        encoding="utf-8",
    )
    assert read("self_dialogue", tmp_path / "s.jsonl")[0] == both
    found, skipped = read("self_dialogue", tmp_path / "s.csv")
    assert found == both and skipped["turned down by those who collected it"] == 1


def test_summaries_are_asked_for_in_many_ways():
    """The same chat gives the same record each time; both kinds and all phrasings come up; the summary is the end."""
    chats = [
        {"dialogue": f"Ann: hi {i}\r\nTom: <file_gif>\r\nTom: hello", "summary": "Ann greets ."} for i in range(300)
    ]
    made = [list(summaries.records_of_row(chat, "p", Skipped())) for chat in chats]
    assert made == [list(summaries.records_of_row(chat, "p", Skipped())) for chat in chats]
    talks = [record["messages"] for records in made for record in records]
    assert len(talks) == 300 and all(talk[-1] == {"role": "assistant", "content": "Ann greets."} for talk in talks)
    had = [talk for talk in talks if talk[0]["role"] == "system"]
    assert 100 < len(had) < 200
    assert {talk[-2]["content"] for talk in had} == set(summaries.ASKED)
    assert had[0][0]["content"] == "You are Tom. You are chatting with Ann."
    assert [(m["role"], m.get("name")) for m in had[0][1:3]] == [("user", "Ann"), ("assistant", None)]
    pasted = {talk[0]["content"] for talk in talks if len(talk) == 2}
    assert {text.replace("{talk}", "") for text in summaries.PASTED} == {
        "".join(part for part in text.replace("Tom: hello", "").splitlines(True) if not part.startswith("Ann: hi"))
        for text in pasted
    }


def test_dialogsum_speakers_get_names():
    """#Person1# and #Person2# become names that the texts do not hold, the same in chat and summary."""
    chat = {"dialogue": "#Person1#: I ' Ve a cold , Alex .\n#Person2#: Oh !", "summary": "#Person1# tells #Person2#."}
    (record,) = summaries.records_of_row(chat, "p", Skipped())
    text = "\n".join(message["content"] for message in record["messages"])
    assert "Person" not in text and "I've a cold, Alex." in text
    one, two = record["messages"][-1]["content"].removesuffix(".").split(" tells ")
    assert one != two and {one, two} <= set(summaries.NAMES) - {"Alex"}


@pytest.mark.parametrize(
    "odd, plain",
    [
        ("Let ' s go .That ’ s all 。", "Let's go. That's all."),
        ("It ′ s 3.5 % of $ 20 , isn't it ?", "It's 3.5% of $20, isn't it?"),
        ("the axiom ' You can't teach an old dog ' holds", "the axiom 'You can't teach an old dog' holds"),
        ("in the U.S.A. , at 4:30 p.m.", "in the U.S.A., at 4:30 p.m."),
    ],
)
def test_tokenised_text_reads_as_written(odd, plain):
    """Spaces, apostrophes and touching sentences are mended; abbreviations are left."""
    assert detokenize.detokenize(odd) == plain


@pytest.mark.parametrize("name", LOCAL)
def test_a_script_is_short_and_offline_it_says_what_would_do(name, monkeypatch):
    """At most 100 lines, the licence in docstring and ABOUT; without hub or file, one line that says what to do."""
    text = (ROOT / "data" / name / "prepare.py").read_text(encoding="utf-8")
    module = script(name)
    assert text.count("\n") <= 100 and f"Licence: {module.ABOUT['licence']}" in module.__doc__
    assert all(hint in module.__doc__ for hint in (f"python data/{name}/prepare.py", "--source="))

    def load_dataset(*_):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(InputError, match="--source=FILE_OR_FOLDER"):
        list(module.conversations(PrepareConfig(), Skipped()))


def test_a_set_is_prepared(hub, tmp_path, capsys):
    """dataset.prepare takes what a script gives: files are written, the licence and the reasons stand in meta.json."""
    settings = PrepareConfig(out_dir=str(tmp_path / "out"), tokenizer="train:300", val_share=0.0, show=1)
    oasst = script("oasst")
    prepare_folder(settings, oasst.__file__, oasst.conversations, oasst.ABOUT)
    meta, _ = open_meta(tmp_path / "out")
    assert (
        meta["sources"][0]["licence"] == "Apache-2.0" and meta["skipped"]["reply to a message that is not there"] == 1
    )
    assert "[Human]: hi\n[Bot]: hello\n" in capsys.readouterr().out


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
@pytest.mark.parametrize(
    "name, path, wanted, reasons",
    [
        ("synthetic_persona_chat", "synthetic_persona_chat", 2000, 8),
        ("dailydialog", "dailydialog/validation.zip", 400, 2),
        ("empatheticdialogues", "empatheticdialogues", 2769, 1),
        ("multi_session_chat", "msc", 1000, 0),
        ("topical_chat", "topical_chat/valid_rare.json.gz", 1078, 0),
        ("self_dialogue", "self_dialogue", 2000, None),
        ("oasst", "oasst_sample/en_100_tree.jsonl", 546, None),
        ("dialogsum", "dialogsum", 500, 0),
        ("samsum", "samsum", 817, 175),
        ("qmsum", "qmsum/train_val.tar.gz", 60, None),
    ],
)
def test_the_files_beside_the_project(name, path, wanted, reasons):
    """Real files are read to the last row; no corpus's marks are left in the text, and few things are left out."""
    skipped = Skipped()
    found = script(name).conversations(PrepareConfig(source=(str(SHARED / path),)), skipped)
    found = lines(itertools.islice(found, wanted if name in ("dailydialog", "self_dialogue", "qmsum") else None))
    assert len(found) == wanted and (reasons is None or sum(skipped.values()) == reasons)
    for text in itertools.chain.from_iterable(found):
        assert not any(mark in text for mark in ("__eou__", "_comma_", "#Person", "User 1:", "User 2:"))


ROWS = {
    "blended_skill_talk": HUB["blended_skill_talk"][1],
    "dailydialog": HUB["dailydialog"][1],
    "empatheticdialogues": [
        *HUB["empatheticdialogues"][1],
        [{"conv_id": "1", "utterance_idx": "1", "utterance": "hi"}] * 2,
    ],
    "oasst": [{"role": "prompter", "text": "a", "lang": "en", "replies": [{"role": "assistant", "text": "b"}]}],
    "smoltalk": HUB["smoltalk"][1],
    "self_dialogue": [{"turns": ["a", "b"]}, {"Answer.sentence1": "a", "Answer.sentence2": "b", "Reject": ""}],
    "samsum": [{"dialogue": "Ann: hi\nTom: ho\nx", "summary": "They greet."}],
    "synthetic_persona_chat": HUB["synthetic_persona_chat"][1],
    "qmsum": [
        {
            "meeting_transcripts": [{"speaker": "A", "content": "hi {vocalsound}"}, {"speaker": "B", "content": "ho"}],
            "specific_query_list": [{"query": "who?", "answer": "A and B", "relevant_text_span": [["0", "1"]]}],
            "general_query_list": [{"query": "all?", "answer": "yes"}],
        }
    ],
    "topical_chat": [{"content": [{"agent": "agent_1", "message": "a"}, {"agent": "agent_2", "message": "b"}]}],
}
READERS = {name: script(name) for name in ROWS} | {"smoltalk": openai, "samsum": summaries}
MSC = script("multi_session_chat")
SESSIONS = [
    *HUB["multi_session_chat"][1],
    {
        "dialog": [{"id": "bot_0", "text": "hi"}, {"id": "bot_1", "text": "ho"}],
        "metadata": {"initial_data_id": "valid_7"},
        "personas": [["I run."], ["I ski."]],
        "previous_dialogs": [{"dialog": [{"text": "hi"}, {"text": "hello"}]}],
    },
]
VALUES = st.recursive(
    st.none()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["assistant", "prompter", ": x", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def replaced(data, row):
    """A copy of the row in which up to two values are others."""
    row = json.loads(json.dumps(row))
    places, stack = [], [row]
    while stack:
        here = stack.pop()
        for key in here if isinstance(here, dict) else range(len(here)):
            places.append((here, key))
            stack += [here[key]] if isinstance(here[key], dict | list) else []
    for here, key in data.draw(st.lists(st.sampled_from(places), max_size=2)):
        here[key] = data.draw(VALUES)
    return row


def changed_rows(row):
    """Yield (what was done, the row) for each of its fields at any depth: it is missing, null, or has another name."""
    places, stack = [], [((), row)]
    while stack:
        path, node = stack.pop()
        for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((*path, key))
            stack.append(((*path, key), node[key]))
    for path in places:
        for change in ("missing", "null", "renamed"):
            copy = json.loads(json.dumps(row))
            node = copy
            for key in path[:-1]:
                node = node[key]
            value = node[path[-1]]
            if change == "null":
                node[path[-1]] = None
            elif change == "missing" or isinstance(node, list):
                del node[path[-1]]
            else:
                del node[path[-1]]
                node[f"{path[-1]}_v2"] = value
            yield f"{path} {change}", copy


FIELDS = {name: found or ROWS["samsum"] for name, (_, found, _) in HUB.items()}
FIELDS |= {name: ROWS[name] for name in ("self_dialogue", "qmsum", "topical_chat")}
FIELDS["personachat"] = [
    {"personality": ["i run ."], "utterances": [{"history": ["hi"], "candidates": ["no", "hello"]}]},
    {"conv_id": 0, "utterance_idx": 0, "personality": ["i run ."], "history": ["hi"], "candidates": ["no", "hello"]},
]
IDS = {name: id for name, (id, _, _) in HUB.items()} | {"personachat": script("personachat").HUB_ID}


@pytest.mark.parametrize("name", FIELDS)
def test_rows_with_a_field_missing_null_or_renamed(name, monkeypatch, tmp_path):
    """
    Whatever field of whatever row it is: the conversations of it, or one line that says what is wrong with which row;
    and where it is passed over, its reason is counted.
    """
    module, id, path = script(name), IDS.get(name, ""), tmp_path / "rows.jsonl"
    settings = PrepareConfig(source=() if id else (str(path),))
    for i, row in enumerate(FIELDS[name]):
        for what, changed in changed_rows(row):
            found = [*FIELDS[name][:i], changed, *FIELDS[name][i + 1 :]]
            monkeypatch.setattr(datasets, "load_dataset", lambda *_, found=found: {"train": found})
            if name == "topical_chat":  # it is one object: id -> dialogue
                path.write_text(json.dumps({"t1": changed}), encoding="utf-8")
            elif not id:
                path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
            skipped = Skipped(keep_going=True)
            talks = lines(module.conversations(settings, skipped))
            assert talks or skipped, what
            if any("broken" in reason for reason in skipped):
                with pytest.raises(InputError, match=id or "rows.jsonl"):
                    list(module.conversations(settings, Skipped(None)))


@settings(max_examples=250, deadline=None)
@given(st.data(), st.sampled_from(list(ROWS)))
def test_any_row_gives_records_or_is_told(data, name):
    """A row in which values were replaced by anything gives records that pass chat_format.check, or is noted."""
    row, reader = replaced(data, data.draw(st.sampled_from(ROWS[name]))), READERS[name]
    skipped = Skipped(keep_going=True)
    pairs = [("row 1", row)]
    found = lines(rows.records_of_rows(pairs, reader.records_of_row, reader.WANTED, skipped))
    assert found or skipped
    if name == "oasst":
        list(reader.trees(pairs, skipped))
    if name == "empatheticdialogues":
        list(reader.dialogues(pairs))


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(SESSIONS))
def test_any_session_gives_records_or_is_told(data, session):
    """The same of the sessions of Multi-Session Chat, which become a conversation together."""
    skipped = Skipped(keep_going=True)
    dialogues = MSC.dialogues([[("row 1", replaced(data, session)), ("row 2", session)]], skipped)
    assert lines(rows.records_of_rows(dialogues, MSC.records_of_row, MSC.WANTED, skipped)) or skipped


def test_a_bug_of_a_reader_is_not_the_users_broken_row():
    """Only what a reader's own checks refuse is a broken row; any other exception is raised as it is."""
    skipped = Skipped(keep_going=True)
    with pytest.raises(KeyError):
        list(rows.records_of_rows([("row 1", {})], lambda row, place, skipped: row["bug"], "a row", skipped))
    with pytest.raises(rows.Misfit):
        rows.required({"a": 1}, "a", str)
    assert rows.optional({"a": ""}, "a", list) is None and rows.optional_list({}, "a", str) == []
    assert not skipped


def test_sessions_of_two_splits_are_two_conversations(monkeypatch):
    """The hub's ids begin anew in each split: 7 of train and 7 of validation are not the same two people."""
    found = HUB["multi_session_chat"][1]
    monkeypatch.setattr(datasets, "load_dataset", lambda hub_id, config: {"train": found[:1], "validation": found[1:]})
    assert len(lines(MSC.conversations(PrepareConfig(), Skipped()))) == 4


@pytest.mark.parametrize("name, streamed", [("ultrachat", True), ("oasst", False)])
def test_with_a_limit_no_more_is_downloaded_than_is_read(monkeypatch, name, streamed):
    """With --limit rows are streamed, except where a set must be read as a whole; without one they are downloaded."""
    asked, taken = [], []

    def load_dataset(hub_id, config, streaming=False):
        asked.append(streaming)
        return {"train": (taken.append(1) or row for row in HUB[name][1] * 1000)}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    made = script(name).conversations(SimpleNamespace(source=(), limit=3), Skipped())
    assert len(list(itertools.islice(made, 3))) >= 1
    assert asked == [streamed] and (not streamed or len(taken) == 3)
    list(itertools.islice(script(name).conversations(PrepareConfig(), Skipped()), 3))
    assert asked == [streamed, False]


def test_a_stream_that_fails_is_one_line(monkeypatch):
    """Where streaming is not possible the downloaded copy is read; where it ends midway that is an InputError."""
    found = HUB["ultrachat"][1]

    def midway():
        yield from found
        raise ConnectionError("no\nroute")

    def load_dataset(hub_id, config, streaming=False):
        if streaming and offline:
            raise ConnectionError("offline")
        return {"train": midway() if streaming else found}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    ultrachat, limited = script("ultrachat"), PrepareConfig(limit=5)
    offline = True
    assert lines(ultrachat.conversations(limited, Skipped())) == [PLAIN]
    offline = False
    with pytest.raises(InputError, match=r"cannot be loaded from the hub \(no\); a copy on this machine"):
        list(ultrachat.conversations(limited, Skipped()))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(LOCAL),
    st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
)
def test_any_file_gives_conversations_or_an_input_error(tmp_path_factory, name, content):
    """Whatever stands in a file: conversations or one line."""
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(content)
    try:
        read(name, path)
    except InputError as error:
        assert "\n" not in str(error)
