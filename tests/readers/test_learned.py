"""
What the AI layouts of people and data sets hold is read alike, and what they mark as not to be learned is not learned.
"""

import io
import json

import numpy as np
import pytest
from conftest import script

from dataset.folder import open_meta, open_split, read_records
from readers import detect
from readers.source import Skipped, Source
from tokenization.chat_format import split_turns

mychats = script("mychats")
HI = [("user", "hi"), ("assistant", "hello")]


def source(text):
    return Source("chats", lambda: io.BytesIO(text.encode()))


def read(content, skipped=None):
    """(name of the reader, conversations as (role, text) lists) of a file: text, or what is written as JSON."""
    text = content if isinstance(content, str) else json.dumps(content)
    ((reader, sources),) = detect.recognise([source(text)], Skipped())
    records = reader.records(sources[0], Skipped() if skipped is None else skipped)
    return reader.NAME, [[(m["role"], m["content"]) for m in record["messages"]] for record in records]


def node(parent, role, text, *children):
    message = {"author": {"role": role}, "content": {"content_type": "text", "parts": text}} if role else None
    return {"message": message, "parent": parent, "children": list(children)}


CHATGPT = {
    "mapping": {
        "r": node(None, None, None, "a"),
        "a": node("r", "user", ["hi", None], "b"),
        "b": node("a", "assistant", [None, "hello :contentReference[oaicite:3]{index=3}"]),
    },
    "current_node": "b",
}
OPENWEBUI = {
    "u": {"id": "u", "parentId": None, "childrenIds": ["x", "y"], "role": "user", "content": "hi"},
    "x": {"id": "x", "parentId": "u", "role": "assistant", "content": "an older answer"},
    "y": {"id": "y", "parentId": "u", "role": "assistant", "content": "hello"},
}
CLAUDE = [
    {"uuid": "1", "sender": "human", "text": "hi", "parent_message_uuid": "0"},
    {"uuid": "2", "sender": "assistant", "text": "an older answer", "parent_message_uuid": "1"},
    {
        "uuid": "3",
        "sender": "assistant",
        "text": "",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "hello"}],
        "parent_message_uuid": "1",
    },
]
GEMINI = [
    {
        "header": "Gemini Apps",
        "title": f"Prompted {question}",
        "time": f"2025-01-15T10:3{minute}:00.000Z",
        "safeHtmlItem": [{"html": f"<p>{answer}</p>"}],
    }
    for minute, question, answer in ((5, "bye", "see you &amp; <b>soon</b>"), (0, "hi", "hello"))
]
LAYOUTS = {
    "ChatGPT": [CHATGPT],
    "ChatGPT as an object": {"conversations": [CHATGPT]},
    "Claude.ai": [{"uuid": "c", "name": "", "chat_messages": CLAUDE}],
    "Open WebUI": [{"title": "t", "chat": {"history": {"messages": OPENWEBUI, "currentId": "y"}, "messages": []}}],
    "Grok": {
        "conversations": [
            {
                "conversation": {"title": "t"},
                "responses": [
                    {"response": {"sender": "human", "message": "hi"}},
                    {"response": {"sender": "ASSISTANT", "message": "hello"}},
                ],
            }
        ]
    },
    "ShareGPT": [{"id": "1", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}],
    "ShareGPT's items": [{"items": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}],
    "ShareGPT's bare lists": [[{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]],
    "role and value": [{"conversations": [{"role": "human", "value": "hi"}, {"role": "ai", "value": "hello"}]}],
    "from and content": [{"messages": [{"from": "user", "content": "hi"}, {"from": "model", "content": "hello"}]}],
    "WildChat": [{"conversation": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}],
    "LLaMA-Factory": [
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "value": "hi"}], "loss_weight": 0.0},
                {"role": "assistant", "content": [{"type": "text", "value": "hello"}], "loss_weight": 1.0},
            ]
        }
    ],
    "Dolly": [{"instruction": "hi", "context": "", "response": "hello", "category": "x"}],
    "prompt and completion": [{"prompt": "hi", "completion": "hello"}],
    "prompt and completion, lists": [
        {"prompt": [{"role": "user", "content": "hi"}], "completion": [{"role": "assistant", "content": "hello"}]}
    ],
    "Guanaco": [{"text": "### Human: hi### Assistant: hello"}],
    "ChatML": [{"text": "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhello<|im_end|>\n"}],
    "Llama 2": [{"text": "<s>[INST] hi [/INST] hello </s>"}],
    "HH as text": [{"text": "\n\nHuman: hi\n\nAssistant: hello"}],
    "a text file of ###": "### Human: hi\n### Assistant: hello\n",
    "DPO": [{"prompt": "hi", "chosen": "hello", "rejected": "go away"}],
    "DPO with lists": [
        {
            "chosen": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}],
            "rejected": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "go away"}],
        }
    ],
    "DPO with lists and the prompt": [
        {
            "prompt": "hi",
            "chosen": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}],
            "rejected": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "go away"}],
        }
    ],
    "DPO in ShareGPT": [
        {
            "conversations": [{"from": "human", "value": "hi"}],
            "chosen": {"from": "gpt", "value": "hello"},
            "rejected": {"from": "gpt", "value": "go away"},
        }
    ],
    "HH": [{"chosen": "\n\nHuman: hi\n\nAssistant: hello", "rejected": "\n\nHuman: hi\n\nAssistant: go away"}],
    "thinking": [
        {
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "<think>\nhm\n</think>\n\nhello"},
            ]
        }
    ],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_one_talk_in_every_layout(name):
    """A question and its answer come out alike, from an array as from lines."""
    assert read(LAYOUTS[name])[1] == [HI]
    if isinstance(LAYOUTS[name], list) and isinstance(LAYOUTS[name][0], dict):
        assert read("\n".join(json.dumps(row) for row in LAYOUTS[name] * 2))[1] == [HI, HI]


def test_gemini_is_read_oldest_first():
    """Questions minutes apart are one talk, and HTML becomes text."""
    name, talks = read(GEMINI)
    assert talks == [[*HI, ("user", "bye"), ("assistant", "see you & soon")]] and "Gemini" in name


def learned(folder, row, **changes):
    """The bot's turns of the prepared row, each with whether all, or none, of it is learned."""
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    paths = dict(source=(str(folder / "rows.jsonl"),), out_dir=str(folder / "out"), val_share=0.0)
    mychats.prepare(mychats.MyChatsConfig(**paths | changes))
    _, tokenizer = open_meta(folder / "out")
    split = open_split(folder / "out", "train", tokenizer)
    ids, end = split.ids.tolist(), 1
    for role, turn in split_turns(ids, tokenizer):
        start, end = end, end + len(turn)
        words = np.asarray(split.supervised[start + 1 : end])
        if role == "assistant":
            yield tokenizer.decode(turn[1:]).strip(), bool(words.all()) and bool(words.any())
        assert words.all() or not words.any()


@pytest.mark.parametrize("mark", [{"weight": 0}, {"loss_weight": 0.0}, {"train": False}])
def test_a_turn_of_weight_0_is_read_and_not_learned(tmp_path, mark):
    """It stays in what the bot sees; the other turns are learned."""
    said = [("user", "capital?", {}), ("assistant", "Oslo", mark), ("user", "sure?", {}), ("assistant", "no, Bern", {})]
    row = {"messages": [{"role": role, "content": text, **more} for role, text, more in said]}
    assert list(learned(tmp_path, row)) == [("Oslo", False), ("no, Bern", True)]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "go away"}], "label": False},
        {"prompt": "hi", "completion": "go away", "label": False},
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "go away", "weight": 0}]},
    ],
)
def test_an_answer_marked_as_bad_is_left_out_and_told(row):
    """KTO's label, and a row of which nothing is to be learned."""
    skipped = Skipped()
    assert read([row], skipped)[1] == []
    assert {"answer labelled as bad", "conversation of which nothing is to be learned"} & set(skipped)


def test_the_rejected_answer_is_kept_beside_and_not_learned(tmp_path):
    """In a file of pairs, masked as the rest."""
    row = {"prompt": "hi", "chosen": "hello", "rejected": "call +49 170 1234567"}
    assert list(learned(tmp_path, row)) == [("hello", True)]
    assert "go away" not in str(list(read_records(tmp_path / "out", "train")))
    (pair,) = (tmp_path / "out" / "train.pairs.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(pair)["rejected"] == "call [phone]" and json.loads(pair)["messages"][-1]["content"] == "hello"
