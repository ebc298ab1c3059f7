"""What the tests share: no network, a tokenizer of few tokens, a tiny model, a data folder of two dialogues."""

import importlib.util
import itertools
import os
import random
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

GPUS = os.environ.get("CUDA_VISIBLE_DEVICES")
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", CUDA_VISIBLE_DEVICES="")
# models this small only wait for a second thread: with one, tests of the engine take a fifth of the time, also in the
# processes that tests start, which run side by side
os.environ.update(NUMBA_NUM_THREADS="1", OMP_NUM_THREADS="1")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import pytest
import torch

from dataset.prepare import PrepareConfig, prepare_folder
from model import GPT, GPTConfig
from tokenization import chat_format
from tokenization import tokenizer as tokenizers

torch.set_num_threads(1)

WORDS = "well then maybe sure okay right really what a day so much rain outside again and again hm yes no way".split()

DIALOGUES = [
    [
        ("user", "hi, how are you?"),
        ("assistant", "great, my dogs are asleep."),
        ("user", "who?"),
        ("assistant", "rex."),
    ],
    [("system", "you like cheetahs."), ("user", "what do you like?"), ("assistant", "cheetahs, and naïve café 🐆!")],
]


def pytest_configure(config):
    """Only what is marked `gpu` sees the GPUs."""
    if config.option.markexpr == "gpu":
        del os.environ["CUDA_VISIBLE_DEVICES"]
        if GPUS is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = GPUS


def pytest_collection_modifyitems(items):
    """The longest tests come first, so that no core is left with one of them when the others have nothing to do."""
    items.sort(key=lambda item: "test_readme" not in item.nodeid and "test_bench" not in item.nodeid)


def as_text(messages):
    """The conversation as people read it, one line for each turn: `[Human]: hi`."""
    return "\n".join(f"{chat_format.ROLE_TAGS[role]} {text}" for role, text in chat_format.turns(messages))


@pytest.fixture(scope="session")
def tokens():
    """A Tokenizer of 300 tokens at most: all bytes, some merges, the chat's five."""
    return tokenizers.train([text for dialogue in DIALOGUES for _, text in dialogue] * 3, 300)


def tiny_model(tokens):
    """A random GPT with the tokenizer's vocabulary and a context of 64, the same each time."""
    torch.manual_seed(0)
    return GPT(GPTConfig(block_size=64, vocab_size=tokens.n_vocab, n_layer=2, n_head=2, n_embd=32)).eval()


@pytest.fixture
def tiny(tokens):
    """A tiny_model of the test's own."""
    return tiny_model(tokens)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A data folder of two dialogues, none of them in val."""
    folder = tmp_path_factory.mktemp("data")
    records = [{"messages": [{"role": role, "content": text} for role, text in dialogue]} for dialogue in DIALOGUES]
    settings = PrepareConfig(out_dir=str(folder), tokenizer="train:300", val_share=0.0)
    about = {"name": "dialogues", "licence": "none", "url": "none"}
    prepare_folder(settings, SimpleNamespace(), lambda settings, skipped: records, about)
    return folder


@pytest.fixture(scope="session")
def dialogue():
    """The conversation that `learned` knows by heart."""
    return [
        {"role": "system", "content": "you have two dogs."},
        {"role": "user", "content": "hi, how are you?"},
        {"role": "assistant", "content": "i'm great, thanks!\nmy dogs are asleep 🐕."},
        {"role": "user", "content": "what are they called?"},
        {"role": "assistant", "content": "rex, and  bella. naïve names, i know."},
    ]


@pytest.fixture(scope="session")
def learned(tmp_path_factory, dialogue):
    """The folder of a model that train.py overfit on `dialogue`."""
    from train import TrainConfig, train

    folder = tmp_path_factory.mktemp("learned")
    settings = PrepareConfig(out_dir=str(folder / "data"), tokenizer="train:300", val_share=0.0)
    about = {"name": "one dialogue", "licence": "none", "url": "none"}
    prepare_folder(settings, SimpleNamespace(), lambda *_: [{"messages": dialogue}], about)
    shape = dict(n_layer=2, n_head=2, n_embd=64, block_size=128, batch_size=1, device="cpu", dtype="float32")
    rate = dict(learning_rate=3e-3, warmup_iters=10, max_iters=120, eval_interval=60, weight_decay=0.0)
    train(TrainConfig(data_dir=str(folder / "data"), out_dir=str(folder / "out"), **shape, **rate))
    return folder / "out"


def script(name):
    """The module data/<name>/prepare.py."""
    spec = importlib.util.spec_from_file_location(f"prepare_{name}", ROOT / "data" / name / "prepare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def talk(n, seed):
    """A dialogue of n exchanges about nothing, the same for the same seed, whose sentences no other dialogue has."""
    rng = random.Random(seed)
    roles = itertools.cycle(["user", "assistant"])
    return [
        {"role": next(roles), "content": f"{' '.join(rng.choices(WORDS, k=rng.randint(2, 5)))} {seed} {i}"}
        for i in range(2 * n)
    ]


@pytest.fixture(scope="session")
def talk_dir(tmp_path_factory):
    """A data folder of 60 short and long dialogues, a third of them val."""
    folder = tmp_path_factory.mktemp("filler")
    records = [{"messages": talk(2 + 3 * (i % 9), 100 + i)} for i in range(60)]
    settings = PrepareConfig(out_dir=str(folder), tokenizer="train:600", val_share=0.33)
    about = {"name": "talk", "licence": "CC0", "url": "none"}
    prepare_folder(settings, SimpleNamespace(), lambda settings, skipped: records, about)
    return folder


@pytest.fixture
def settings(data_dir, tmp_path):
    """Makes the TrainConfig of a run of less than a second."""
    from train import TrainConfig

    def made(**changes):
        shape = dict(n_layer=1, n_head=2, n_embd=16, block_size=64, batch_size=2, learning_rate=1e-2, warmup_iters=2)
        often = dict(max_iters=6, eval_interval=3, eval_iters=1, log_interval=1, device="cpu", dtype="float32")
        return TrainConfig(**{"data_dir": str(data_dir), "out_dir": str(tmp_path / "out"), **shape, **often, **changes})

    return made


@pytest.fixture
def running(tiny, tokens, tmp_path):
    """Makes servers of the tiny model; stops them all."""
    from served import Running

    made = []

    def started(**how):
        made.append(Running(tiny, tokens, tmp_path, **how))
        return made[-1]

    yield started
    for server in made:
        server.stop()


@pytest.fixture(scope="module")
def shared(tokens, tmp_path_factory):
    """Gives the module's server with some settings: for tests that leave it as it was, since a start takes a while."""
    from served import Running

    made = {}

    def given(**settings):
        key = repr(sorted(settings.items()))
        if key not in made:
            made[key] = Running(tiny_model(tokens), tokens, tmp_path_factory.mktemp("shared"), **settings)
        return made[key]

    yield given
    for server in made.values():
        server.stop()


@pytest.fixture
def server(shared):
    """The module's server with the usual settings. A test that changes it, or reads its counts, has `running()`."""
    return shared()


# the page, in a real browser: what is marked `browser`


@pytest.fixture(scope="session")
def chromium():
    """Debian's Chromium, or whichever is installed; the tests are skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install -r runs/requirements-browser.txt")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    still = ["quic", "gpu", "background-networking", "component-update", "sync"]  # nothing but the page is loaded
    flags = ["--no-sandbox", "--no-first-run", *(f"--disable-{each}" for each in still)]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def scripted():
    """A server that says what the test wants said."""
    from scripted import Scripted  # in here: the tests on a GPU need no FastAPI

    server = Scripted()
    yield server
    server.stop()


@pytest.fixture
def tabs(chromium, scripted):
    """Makes tabs; in the end none has seen a violation of the policy or an error that it did not expect."""
    from tab import Tab

    made = []

    def opened(server, **options):
        made.append(Tab(chromium, server.url, **options))
        return made[-1]

    yield opened
    for tab in made:
        tab.close()


@pytest.fixture
def tab(tabs, scripted):
    return tabs(scripted)
