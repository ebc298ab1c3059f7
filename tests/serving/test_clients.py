"""
What people point at serve.py beside OpenAI's Python client: curl, OpenAI's npm client, LangChain, and schemathesis,
which makes requests of the OpenAPI document. Each is skipped where it is not installed
(runs/requirements-clients.txt, npm).
"""

import json
import os
import shutil
import subprocess
import sys

import pytest
from served import HI, expected

from inference.settings import SamplingParams

pytestmark = pytest.mark.slow
NODE = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "hi, how are you?" }];
const asked = { model: "tiny", messages, temperature: 0, max_tokens: 20 };
const whole = await client.chat.completions.create(asked);
let pieces = "";
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true }))
  pieces += chunk.choices[0]?.delta?.content ?? "";
const wrong = { ...asked, tools: [{ type: "function" }] };
const refused = await client.chat.completions.create(wrong).catch((error) => error);
console.log(JSON.stringify([whole.choices[0].message.content, pieces, refused.status, refused.param]));
"""


@pytest.fixture
def reply(server):
    """What a greedy server says to HI."""
    return expected(server, HI, SamplingParams(temperature=0, max_new_tokens=20))[0]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_curl(server, reply):
    body = json.dumps({"messages": HI, "temperature": 0, "max_tokens": 20})
    command = ["curl", "-sf", f"{server.url}/v1/chat/completions", "-H", "Content-Type: application/json", "-d", body]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == reply


@pytest.mark.skipif(shutil.which("npm") is None, reason="node and npm are not here")
def test_the_npm_client(server, reply, tmp_path):
    """OpenAI's own JavaScript: whole, streamed, and an error with its parameter."""
    installed = subprocess.run(["npm", "install", "--silent", "openai"], cwd=tmp_path, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"npm cannot install openai: {installed.stderr[-200:]}")
    (tmp_path / "ask.mjs").write_text(NODE, encoding="utf-8")
    command = ["node", "ask.mjs", f"{server.url}/v1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    whole, pieces, status, param = json.loads(done.stdout)
    assert (whole, pieces, status, param) == (reply, reply, 400, "tools")


def test_langchain(server, reply):
    """LangChain's ChatOpenAI, whole and streamed, with usage."""
    langchain = pytest.importorskip("langchain_openai")
    how = dict(base_url=f"{server.url}/v1", api_key="none", model="tiny", temperature=0, max_tokens=20, max_retries=0)
    chat = langchain.ChatOpenAI(**how)
    whole = chat.invoke("hi, how are you?")
    assert whole.content == reply and whole.usage_metadata["output_tokens"] > 0
    assert "".join(piece.content for piece in chat.stream("hi, how are you?")) == reply
    newer = langchain.ChatOpenAI(**how, use_responses_api=True)
    assert newer.invoke("hi, how are you?").text == reply
    assert "".join(piece.text for piece in newer.stream("hi, how are you?")) == reply


def test_schemathesis(server, tmp_path):
    """Requests made of the OpenAPI document, right and wrong: no answer is a 5xx."""
    pytest.importorskip("schemathesis")
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"]
    n, seed = os.environ.get("SCHEMATHESIS_EXAMPLES", "40"), os.environ.get("SCHEMATHESIS_SEED", "0")
    command += ["--checks", "not_a_server_error", "--max-examples", n, "--seed", seed]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)  # it keeps notes there
    print(done.stdout[-600:])  # how many requests it made
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
