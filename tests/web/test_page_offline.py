"""
docs/browser: the page in which the model itself runs, through onnxruntime-web, in a real browser. Our engine in Python
is the oracle of its ids, its replies and its draws. onnxruntime-web comes from npm; without it the tests are skipped.
"""

import functools
import http.server
import re
import shutil
import subprocess
import tarfile
import threading

import pytest
import torch
from conftest import ROOT

from checkpoint import model_folder
from inference.engine import Engine
from inference.sampling import apply_penalties, filter_logits
from inference.settings import SamplingParams
from model import GPT, GPTConfig
from tokenization.chat_format import prompt

pytestmark = pytest.mark.browser
PAGE = ROOT / "docs" / "browser"
USED = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")  # of onnxruntime-web
# a token takes 30 ms at least
SLOWLY = """() => {
  const post = Worker.prototype.postMessage;
  Worker.prototype.postMessage = function (question) { setTimeout(() => post.call(this, question), 30); };
}"""
TALKS = [
    ["hi, how are you?"],
    [
        "[Bot]: yes.\n<|endoftext|>[Human]: <|endofturn|> 'tis I'll\tgo",
        "rex",
        "naïve  café 🐆 \u0085\u00a0\ufeff x\n\n ",
    ],
    ["line one\n\n  line two", " a  b", "1234 ½ ٣ ﬁ e\u0301 \U0001f468\u200d\U0001f469 don't DON'T"],
]


def messages_of(talk):
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(talk)]


@pytest.fixture(scope="module")
def random_model(tokens):
    """A model that says anything, as its weights are as large as trained ones."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(block_size=320, vocab_size=tokens.n_vocab, n_layer=2, n_head=2, n_embd=32)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn(p.shape)
    return model


@pytest.fixture(scope="module")
def site(tmp_path_factory, learned, random_model, tokens):
    """The address of the page with a model that knows the dialogue, and of random/ with one that says anything."""
    pytest.importorskip("onnx", reason="pip install onnx")
    from checkpoint.onnx import write_onnx

    folder = tmp_path_factory.mktemp("site") / "browser"
    shutil.copytree(PAGE, folder, ignore=shutil.ignore_patterns("package", "model", "*.tgz"))
    (folder / "package" / "dist").mkdir(parents=True)
    version = re.search(r"npm pack (onnxruntime-web@[\d.]+)", (ROOT / "docs" / "browser.md").read_text("utf-8"))[1]
    try:
        subprocess.run(["npm", "pack", "--silent", version], cwd=folder, check=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no {version}: {error}")
    with tarfile.open(next(folder.glob("*.tgz"))) as package:
        for name in USED:
            (folder / "package" / "dist" / name).write_bytes(package.extractfile(f"package/dist/{name}").read())
    write_onnx(learned, folder / "model", "int8")
    model_folder.save(folder / "random", random_model, tokens, {})
    write_onnx(folder / "random", folder / "random", "float32")

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def opened(chromium, site):
    """Opens the page; in the end none has logged an error that it did not expect."""
    from tab import Tab

    made = []

    def tab(query="", expected=()):
        made.append(Tab(chromium, site + query))
        made[-1].expected += expected
        made[-1].page.set_default_timeout(60_000)
        if not expected:
            made[-1].until("!document.getElementById('send').disabled")
        return made[-1]

    yield tab
    for each in made:
        each.close()


def replies(tab, n):
    """The last reply, once there are n and none is on its way."""
    tab.until(f"document.querySelectorAll('.assistant').length === {n} && !document.getElementById('send').hidden")
    return tab.page.locator(".assistant").last.inner_text()


def in_page(tab, code, argument):
    """What JavaScript gives that has `chat`, the random model's, and `argument`."""
    opened = "const { Chat, draw } = await import('/chat.js'); const folder = new URL('/random/', location.href);"
    chat = "const chat = (window.chat ??= await Chat.open(folder));"
    return tab.page.evaluate(f"async (argument) => {{ {opened} {chat} {code} }}", argument)


def test_the_model_in_the_box_could_talk_here(opened, dialogue):
    """A model in int8 that knows a conversation says its part, persona and all, and ends by itself; with no network."""
    tab = opened()
    tab.context.set_offline(True)
    tab.page.fill("#persona", dialogue[0]["content"])
    tab.page.fill("#input", dialogue[1]["content"])
    tab.page.press("#input", "Enter")
    assert replies(tab, 1) == dialogue[2]["content"]
    tab.page.fill("#input", dialogue[3]["content"])
    tab.page.click("#send")
    assert replies(tab, 2) == dialogue[4]["content"]
    assert tab.page.locator(".user").all_inner_texts() == [dialogue[1]["content"], dialogue[3]["content"]]
    tab.page.click("#new-chat")
    assert tab.page.is_visible("#empty") and tab.page.locator("article").count() == 0


def test_ids_and_greedy_replies_are_ours(opened, random_model, tokens):
    """To the id and to the letter, typed tags and odd characters included, with the penalty and 200 tokens."""
    tab = opened()
    engine = Engine(random_model, tokens)
    texts = []
    for messages in map(messages_of, TALKS):
        ids = in_page(tab, "return chat.prompt(argument);", messages)
        assert ids == prompt(messages, tokens)
        ours = "".join(piece.text for piece in engine.reply(messages, SamplingParams(temperature=0)))
        code = "let text; for await (text of chat.reply(argument, { temperature: 0 })); return text;"
        texts.append(in_page(tab, code, messages))
        assert texts[-1] == ours
    assert len(set(texts)) == len(texts) and max(map(len, texts)) > 50


def test_a_reply_is_streamed_and_can_be_stopped(opened):
    """Words show before the last has come; Stop keeps what was said, and the next question is answered."""
    tab = opened("?model=random")
    endless = {"eos_token_id": [], "temperature": 0.8}
    tab.expected.append("404")  # of the model in int8, which this folder lacks
    tab.page.route("**/generation_config.json", lambda route: route.fulfill(json=endless))
    tab.page.reload()
    tab.until("!document.getElementById('send').disabled")
    tab.page.evaluate(SLOWLY)
    tab.page.fill("#input", "talk")
    tab.page.press("#input", "Enter")
    tab.until("document.querySelector('.live')?.innerText.length > 5")
    tab.page.click("#stop")
    words = replies(tab, 1)
    tab.page.wait_for_timeout(300)
    assert words and replies(tab, 1) == words
    tab.page.fill("#input", "go on")
    tab.page.press("#input", "Enter")
    tab.until("document.querySelectorAll('.assistant').length === 2")
    tab.page.keyboard.press("Escape")
    replies(tab, 2)


def test_tokens_are_drawn_as_ours_are(opened):
    """Of 4,000 draws none is of a token that ours never takes, and each is as frequent, to 0.05."""
    logits = torch.randn(50, generator=torch.Generator().manual_seed(3)) * 2
    recent = [int(logits.argmax()), 7, 7, 9]
    tab = opened("?model=random")
    for name, value in (("top_p", 0.9), ("top_k", 3), ("repetition_penalty", 1.5)):
        sampling = SamplingParams(**{"temperature": 0.8, "top_p": 1.0, "repetition_penalty": 1.0, name: value})
        ids, kept = filter_logits(apply_penalties(logits.numpy(), sampling, recent), sampling)
        settings = {each: getattr(sampling, each) for each in ("temperature", "top_p", "top_k", "repetition_penalty")}
        code = "const [logits, ...how] = argument; const once = () => draw(Float32Array.from(logits), ...how);"
        code += "return Array.from({ length: 4000 }, once);"
        drawn = in_page(tab, code, [logits.tolist(), settings, recent])
        assert set(drawn) <= set(ids.tolist())
        for token, probability in zip(ids.tolist(), torch.from_numpy(kept).softmax(0).tolist(), strict=True):
            assert abs(drawn.count(token) / 4000 - probability) < 0.05


def test_a_long_chat_loses_its_oldest_turns(opened, random_model, tokens):
    """The same ones as ours, at each length of the chat; a message that is too long by itself is refused."""
    tab = opened("?model=random")
    talk = messages_of([f"this is message number {i}" for i in range(61)])
    talks = [[*persona, *talk[:n]] for persona in ([], [{"role": "system", "content": "be kind"}]) for n in (9, 21, 61)]
    engine = Engine(random_model, tokens)
    wanted = [engine.prompt(each, SamplingParams()) for each in talks]
    assert wanted[-1] != prompt(talks[-1], tokens)
    assert in_page(tab, "return argument.map((talk) => chat.fitting(talk));", talks) == wanted
    refused = "try { return chat.fitting(argument); } catch (error) { return error.message; }"
    assert "too long" in in_page(tab, refused, messages_of(["word " * 400]))


def test_a_message_that_is_too_long_is_given_back(opened):
    """It stands in the box again, beside a line that says why, and a shorter one is answered."""
    tab = opened("?model=random")
    for before in (0, 1):
        tab.page.fill("#input", "word " * 400)
        tab.page.click("#send")
        tab.until("!document.getElementById('trouble').hidden && !document.getElementById('send').hidden")
        assert "too long" in tab.page.inner_text("#trouble") and tab.page.input_value("#input").startswith("word word")
        assert tab.page.locator("article").count() == 2 * before
        tab.page.fill("#input", "hi")
        tab.page.click("#send")
        replies(tab, before + 1)
        assert not tab.page.is_visible("#trouble")


def test_everybody_can_use_it(opened):
    """axe finds nothing serious or critical, light or dark, wide or narrow; nothing is wider than the window."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    for scheme, width in (("light", 1280), ("dark", 390)):
        tab = opened("?model=random")
        tab.page.emulate_media(color_scheme=scheme)
        tab.page.set_viewport_size({"width": width, "height": 800})
        for talk in (None, "w" * 150):
            if talk:
                tab.page.fill("#input", talk)
                tab.page.click("#send")
                replies(tab, 1)
            found = axe.Axe().run(tab.page).response["violations"]
            assert not [each["id"] for each in found if each["impact"] in ("serious", "critical")]
            assert tab.page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_is_missing_is_said(opened):
    """A folder that is not there gives a line, and no message can be sent."""
    tab = opened("?model=nowhere", expected=["404"])
    tab.until("!document.getElementById('trouble').hidden")
    assert re.fullmatch(r"/nowhere/ cannot be opened: /nowhere/\w+\.json is not there", tab.page.inner_text("#trouble"))
    assert tab.page.is_disabled("#send")
