"""
The model card says what the folder knows, and never takes the place of a person's; a push sends what others need,
nothing private, and nothing at all unless it is told to, as a hub on this machine sees it.
"""

import base64
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading

import pytest
from conftest import ROOT
from huggingface_hub import ModelCard

from checkpoint import card, model_folder
from checkpoint.push import push
from runtime.errors import InputError

SOURCES = [
    {
        "name": "Chit-Chat",
        "licence": "MIT",
        "url": "https://example.org/chat",
        "files": ["a.json"],
        "conversations": 7000,
    },
    {"name": "my | <chats>", "licence": "private", "url": "this machine", "files": ["Chat with Bob.txt"]},
]
CHAT = {
    "data": SOURCES,
    "val_loss": 2.3456,
    "tokens_seen": 123456,
    "settings": {"init_from": "/home/ann/gpt2", "data_dir": "/home/ann/data", "batch_size": 4},
}


@pytest.fixture
def ours(tiny, tokens, tmp_path):
    model_folder.save(tmp_path / "out-ann", tiny, tokens, CHAT)
    return tmp_path / "out-ann"


def test_the_card_says_what_the_folder_knows(ours, tiny):
    """Shape, sources with licences and links, where it began, how to talk to it; the hub's reader takes its head."""
    text = (ours / "README.md").read_text(encoding="utf-8")
    assert ModelCard(text).data.to_dict() == {
        "license": "other",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
    }
    assert (
        "# out-ann\n\nA GPT-2 that chats: 2 layers, 32 wide, 2 heads, a context of 64 tokens, a vocabulary of " in text
    )
    assert "| [Chit-Chat](https://example.org/chat) | MIT | 7,000 |\n| my \\| &lt;chats> | private |  |" in text
    assert "It began as gpt2. It saw 123,456 tokens. Its loss on held-out conversations: 2.346. **Private chats" in text
    assert "python chat.py --out_dir=out-ann " in text and 'model="out-ann"' in text and "Not measured yet" in text
    assert "/home" not in text and "Bob.txt" not in text


@pytest.mark.parametrize("licences, wanted", [(["MIT"], "mit"), (["CC BY 4.0"] * 2, "cc-by-4.0"), ([], "other")])
def test_one_licence_is_the_models(licences, wanted):
    assert f"license: {wanted}\n" in card.text("a", {}, {"data": [{"licence": each} for each in licences]})


def test_a_persons_card_stays(ours, tiny, tokens):
    """A card of ours is written anew with the model; one that was changed by a letter, or is a person's, stays."""
    path = ours / "README.md"
    model_folder.save(ours, tiny, tokens, {**CHAT, "tokens_seen": 999})
    ours_now = path.read_text(encoding="utf-8")
    assert "It saw 999 tokens" in ours_now
    for text in (ours_now.replace("makes things up", "makes up things"), "# My own words\n", ""):
        path.write_text(text, encoding="utf-8")
        model_folder.save(ours, tiny, tokens, CHAT)
        assert card.write(ours) is None and path.read_text(encoding="utf-8") == text
    assert card.write(ROOT / "models" / "small-talk", ours) is None  # nor from another folder
    path.unlink()
    assert card.write(ours) == path and "It saw 123,456 tokens" in path.read_text(encoding="utf-8")


def test_figures_are_those_of_these_weights(ours, tmp_path):
    """The report card's first table stands in the card, unless the model was written after it was measured."""
    table = "| | out-ann |\n|---|--:|\n| ended | 98.0% |"
    report = ours / "report.md"
    report.write_text(f"# Report\n\n## In short\n\n{table}\n\n## Fit\n\n| | more |\n", encoding="utf-8")
    os.utime(report, (2e9, 2e9))
    card.write(ours)
    assert f"## How good it is\n\n{table}\n\n## Limits" in (ours / "README.md").read_text(encoding="utf-8")
    os.utime(report, (1e9, 1e9))
    card.write(ours)
    assert "98.0%" not in (ours / "README.md").read_text(encoding="utf-8")


def test_exports_are_named(ours, tmp_path):
    """How to talk to the exports that stand beside the card."""
    for name in ("out-ann-q8_0.gguf", "Modelfile", "onnx/model.onnx", "ct2-int8/model.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    text = card.write(ours, tmp_path).read_text(encoding="utf-8")
    assert "llama-cli -m out-ann-q8_0.gguf" in text and "ollama create out-ann -f Modelfile" in text
    assert "# onnx/model.onnx: onnxruntime" in text and "# ct2-int8: ctranslate2" in text


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's protocol as a commit needs; what was sent is kept in server.sent."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, content, status=200):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_PUT(self):
        data = self.body()
        self.server.large[hashlib.sha256(data).hexdigest()] = data
        self.answer({})

    def do_POST(self):
        body, server = self.body(), self.server
        url = f"http://127.0.0.1:{server.server_port}"
        if self.headers.get("Authorization") != "Bearer hf_right":
            return self.answer({"error": "no"}, 401)
        if self.path == "/api/repos/create":
            server.created.append(json.loads(body))
            return self.answer({"url": f"{url}/ann/bot"})
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if self.path.startswith("/api/models/ann/bot/preupload/"):
            paths = [file["path"] for file in json.loads(body)["files"]]
            modes = {path: "lfs" if path.endswith(".safetensors") else "regular" for path in paths}
            files = [{"path": path, "uploadMode": modes[path], "shouldIgnore": False} for path in paths]
            return self.answer({"files": files})
        if self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**each, "actions": {"upload": {"href": f"{url}/lfs/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            return self.answer({"transfer": "basic", "objects": objects})
        assert self.path.startswith("/api/models/ann/bot/commit/"), self.path
        server.commits.append([json.loads(line) for line in body.splitlines()])
        return self.answer({"commitUrl": f"{url}/ann/bot/commit/{'0' * 40}", "commitOid": "0" * 40, "success": True})

    def do_GET(self):
        self.answer({}, 404)


@pytest.fixture
def hub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.created, server.large, server.commits = [], {}, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def pushed(hub, folder, *flags, token="hf_right"):
    """export.py --push, run with that hub."""
    environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_TOKEN": token}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "export.py", f"--out_dir={folder}", "--push=ann/bot", *flags]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def private(folder):
    """What a folder may have beside its model."""
    (folder / "report.json").write_text("{}")
    (folder / ".secret.gguf").touch()
    for name in ("trainer.pt", "feedback.jsonl", "metrics.jsonl", "report.md"):
        (folder / name).write_bytes(b"private")
    (folder / "ckpt-5").mkdir()
    (folder / "ckpt-5" / "model.safetensors").touch()


def test_a_push_is_a_dry_run(ours, hub):
    """Every file with its size, what stays here, and that nothing was sent; the hub was not asked anything."""
    private(ours)
    done = pushed(hub, ours)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    size = (ours / "model.safetensors").stat().st_size
    assert f"{size:>13,} bytes  model.safetensors" in lines
    assert (
        "stays here: .secret.gguf, ckpt-5, feedback.jsonl, metrics.jsonl, report.json, report.md, trainer.pt" in lines
    )
    assert lines[-1].startswith("nothing was sent; --push_really=true sends these 7 files, ")
    assert not hub.created and not hub.commits and not hub.large


def test_a_real_push_sends_the_folder(ours, hub):
    """One commit to a private repository; the weights to the byte; no name of a file or folder of the person's."""
    private(ours)
    done = pushed(hub, ours, "--push_really=true")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("sent 7 files, ") and "/ann/bot" in done.stdout
    (created,) = hub.created
    assert created["name"] == "bot" and (created.get("visibility") == "private" or created.get("private"))
    (commit,) = hub.commits
    small = {line["value"]["path"]: line["value"]["content"] for line in commit if line["key"] == "file"}
    large = {line["value"]["path"]: line["value"]["oid"] for line in commit if line["key"] == "lfsFile"}
    names = "README.md chat.json config.json generation_config.json tokenizer.json tokenizer_config.json".split()
    assert sorted(small) == names and list(large) == ["model.safetensors"]
    assert hub.large[large["model.safetensors"]] == (ours / "model.safetensors").read_bytes()
    sent = json.loads(base64.b64decode(small["chat.json"]))
    assert sent["settings"] == {"batch_size": 4} and not any("files" in source for source in sent["data"])


def test_a_refusal_is_one_line(ours, hub):
    """A token that may not write: one line, status 2."""
    done = pushed(hub, ours, "--push_really=true", token="hf_wrong")
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith(
        "error: ann/bot: the hub refused (401); hf auth"
    )


def test_what_cannot_be_pushed_is_named(ours, tmp_path):
    """No hub in reach; no model in the folder."""
    with pytest.raises(InputError, match="ann/bot: could not be sent"):
        list(push(ours, "ann/bot", really=True))
    with pytest.raises(InputError, match="has no model"):
        list(push(tmp_path, "ann/bot", really=False))
