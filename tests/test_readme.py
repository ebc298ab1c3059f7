"""
What README.md and docs/ say is true: every command in their `sh` blocks and all Python code runs, in the order of the
page, in a copy of the files that git tracks; and every flag, file and link in them exists.

There is no hub here: a random GPT-2 in a folder called gpt2 stands for the hub's, a few dialogues for PersonaChat, part
of the chitchat data for all of it, and a tiny model for those that take minutes to train. Flags behind each command
make it short. Each page is a test of its own, so that they can run side by side.
"""

import contextlib
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, script

import configurator
from bench import BenchConfig
from chat import ChatConfig
from dataset.prepare import PrepareConfig
from evaluate import EvaluateConfig
from export import ExportConfig
from sample import SampleConfig
from serve import ServeConfig
from train import TrainConfig

PAGES = sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md"))
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
TEXTS = dict(zip(NAMES, (path.read_text(encoding="utf-8") for path in PAGES), strict=True))
SETTINGS = {
    "train.py": TrainConfig,
    "chat.py": ChatConfig,
    "sample.py": SampleConfig,
    "serve.py": ServeConfig,
    "evaluate.py": EvaluateConfig,
    "bench.py": BenchConfig,
    "export.py": ExportConfig,
}
# the tests themselves; what needs the other engines built (bench.py, which it calls, runs here), a browser, or a GPU
NOT_RUN = ("runs/test.sh", "runs/bench.sh", "runs/browser.sh", "runs/fuzz_server.sh")
NOT_RUN += ("runs/gpu.sh", "--device=cuda", "runs/base.sh")
QUICKSTART, SCRATCH = "bash runs/quickstart.sh", "bash runs/scratch.sh"  # they have tests of their own
HISTORY = ("NOTES.md", "CHANGELOG.md")  # they tell of commands and files as they were at the time
# on what no other command depends: what is the same with the sizes here is run on README.md's page only
FIGURES = re.compile("bench.py|report.sh")
DIALOGUES = """1 your persona: i have two dogs.
2 hi , how are you ?\tgreat , my dogs are asleep .
3 what are they called ?\trex and bella .
"""
SERVING = "until curl -sf http://{address}/health; do sleep 0.2; kill -0 $(cat serve.pid) || exit 1; done"
ASKED = "questions.txt"
ADDRESS = "127.0.0.1:8000"  # serve.py's; here each page's server has a port of its own
MODELS = (
    "out-chat",
    "out-chitchat",
    "out-untrained",
)  # the folders that commands find when their page does not make them
# flags of every script and of other programs, and a placeholder
NOT_SETTINGS = {"help", "pdb", "format", "node_rank", "name"}
in_venv = pytest.mark.skipif(
    not (Path(sys.prefix) / "bin" / "activate").exists(), reason="the tests do not run in a virtual environment"
)


def settings_class(name):
    """The settings dataclass of the script at this path."""
    if name in SETTINGS:
        return SETTINGS[name]
    classes = [value for value in vars(script(Path(name).parent.name)).values() if isinstance(value, type)]
    own = [cls for cls in classes if issubclass(cls, PrepareConfig) and cls is not PrepareConfig]
    return own[0] if own else PrepareConfig


def code_blocks(page, language):
    """The fenced blocks of a page in `language`, or of none ("")."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", TEXTS[page], flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in blocks if name == language]


def commands(page):
    """The lines of a page's `sh` blocks that are run, without their comments."""
    lines = [line for block in code_blocks(page, "sh") for line in block.splitlines()]
    lines = [line.partition("  #")[0].partition(" # ")[0].strip() for line in lines]
    lines = [line for line in lines if line and not any(name in line for name in (*NOT_RUN, QUICKSTART, SCRATCH))]
    if page == "README.md":
        return lines
    known = [short(line, ADDRESS) for line in commands("README.md") if FIGURES.search(line)]
    lines = [line for line in lines if short(line, ADDRESS) not in known]
    measuring = {short(line, ADDRESS): line for line in lines if FIGURES.search(line)}  # each once
    return [line for line in lines if not FIGURES.search(line) or line in measuring.values()]


def short(command, address):
    """The command, made to end soon and to need no hub."""
    if "personachat/prepare.py" in command:
        return f"{command} --source=dialogues.txt"
    if "prepare.py" in command:
        return command
    if "report.sh" in command or "evaluate.py" in command:
        return f"{command} --n=2" + (" --data=data/chitchat" if "evaluate.py" in command else "")
    if "--what=train" in command:
        command = re.sub(r" --(n_layer|n_head|n_embd|block_size|batch_size)=\d+", "", command)
        return f"{command} --n_layer=1 --n_head=3 --n_embd=48 --block_size=128 --batch_size=4 --steps=5 --runs=1"
    if "bench.py" in command:
        small = "--clients=2 --slots=2" if "--what=serve" in command else "--messages=2000"
        # busy: a core of the other tests'; tests/benchmarks has its own
        command = re.sub(r" --(busy|init_from|prompt_tokens|new_tokens|runs)=\S+", "", command)
        return f"{command} --init_from=out-untrained --prompt_tokens=8 --new_tokens=4 --runs=1 {small}"
    if "export.py" in command:
        return f"{command} --threads=1"
    if "train.py" in command:
        return f"{command} --max_iters=2 --warmup_iters=0 --block_size=64 --eval_iters=1 --overwrite=true --device=cpu"
    if "serve.py" in command:
        serving = f"{command} --port={address.partition(':')[2]} > serve.log 2>&1"
        return f"{{ {serving} & echo $! > serve.pid; }} && {SERVING.format(address=address)}"
    command += " --max_new_tokens=5"
    return command if "printf" in command or "--prompt" in command or "sample.py" in command else f"{command} < {ASKED}"


# commands that follow each other are run by one process where they are such: else each would import torch for seconds
PLAIN = re.compile(r"python (?:train|chat|sample|data/\w+/prepare)\.py [^|;&>]*")
ONE_PROCESS = """
import json, os, runpy, sys
for words, questions in json.loads(sys.argv[1]):
    os.dup2(os.open(questions, os.O_RDONLY), 0)
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    sys.argv, sys.path[0] = words, os.path.dirname(words[0])
    print("$", *words, flush=True)
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise
"""
RUN = [page for page in NAMES if page not in HISTORY and (commands(page) or code_blocks(page, "python"))]


def in_one_process(commands):
    """The command that runs these, one after another, until one fails."""
    words = [shlex.split(command.removeprefix("python ")) for command in commands]
    parts = [(each[: each.index("<")], each[-1]) if "<" in each else (each, os.devnull) for each in words]
    return shlex.join(["python", "-c", ONE_PROCESS, json.dumps(parts)])


def run(folder, command):
    """What the command printed in the folder, in this environment; an AssertionError with all it said if it fails."""
    line = f"source .venv/bin/activate; {command}"
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def copy_tracked_files(folder):
    """
    The files that git tracks, with this environment as .venv. The kernels' machine code, which numba takes many seconds
    to make, is shared with the project's own: it goes by the times of the source files, which stay as they are.
    """
    names = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    for name in names:
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    machine_code = ROOT / "ops" / "__pycache__"
    machine_code.mkdir(exist_ok=True)
    (folder / "ops" / "__pycache__").symlink_to(machine_code)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    (folder / ASKED).write_text("hi\nwhat are your dogs called?\n", encoding="utf-8")


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory):
    """A clone with stand-ins for what the hub has and for what takes minutes to train."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("stand_ins")
    copy_tracked_files(folder)
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=32, n_positions=128))
    with torch.no_grad():  # one token in ten ends the line, and with it the reply: else all have 200 tokens
        line_end = model.transformer.wte.weight[198]
        model.transformer.ln_f.bias.copy_(10 * line_end / line_end.square().sum())
    model.save_pretrained(folder / "gpt2")
    (folder / "dialogues.txt").write_text(DIALOGUES * 3, encoding="utf-8")
    run(folder, "python data/chitchat/prepare.py --limit=400 --tokenizer=train:1024 --val_share=0.2")
    run(folder, "python train.py config/train_tiny.py --max_iters=2 --out_dir=out-untrained")
    for name in MODELS[:-1]:
        shutil.copytree(folder / "out-untrained", folder / name)
    return folder


@pytest.fixture
def address():
    """Where no server listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def clone(stand_ins, tmp_path):
    """A copy of the stand-ins for one page; a server that the page started is stopped."""
    folder = tmp_path / "clone"
    shutil.copytree(stand_ins, folder, symlinks=True)
    yield folder
    if (folder / "serve.pid").exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((folder / "serve.pid").read_text(encoding="utf-8")), signal.SIGTERM)


@in_venv
@pytest.mark.parametrize("page", RUN)
def test_every_command_of_a_page_runs(page, clone, address):
    """In the page's order, each command ends with 0; where the bot answers lines, it gives a line for each."""
    lines = [short(command, address) for command in commands(page)]
    for is_plain, group in itertools.groupby(lines, lambda line: bool(PLAIN.fullmatch(line))):
        for command in [in_one_process(list(group))] if is_plain else group:
            out = run(clone, command)
            if "printf" in command:
                assert len(out.splitlines()) == 2, out
    for block in code_blocks(page, "python"):
        done = subprocess.run(
            [sys.executable, "-c", block.replace(ADDRESS, address)], cwd=clone, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{block}\n{done.stderr}"


@in_venv
def test_the_quickstart_in_a_fresh_clone(tmp_path):
    """README's first command: from the tracked files alone to a chat, a line of answer for each line asked."""
    assert QUICKSTART in TEXTS["README.md"]
    copy_tracked_files(tmp_path)
    out = run(tmp_path, f"{QUICKSTART} < {ASKED}")
    assert len(out.splitlines()) == 2, out
    assert not list(tmp_path.glob("out*"))


@in_venv
def test_a_model_from_nothing_in_a_fresh_clone(tmp_path):
    """runs/scratch.sh trains before it talks."""
    copy_tracked_files(tmp_path)
    out = run(tmp_path, f"MINUTES=0.1 {SCRATCH} < {ASKED}")
    assert len(out.splitlines()) == 2, out
    assert {path.name for path in tmp_path.glob("out*")} == {"out-scratch"}


def test_there_is_something_to_run():
    """The pages' commands are found, so that the tests above cannot pass on nothing."""
    assert {"README.md", "docs/training.md", "docs/data.md", "docs/report-card.md", "docs/serving.md"} <= set(RUN)
    assert len(commands("README.md")) >= 10


@pytest.mark.parametrize("page", [page for page in NAMES if page not in HISTORY])
def test_every_flag_and_script_of_a_page_exists(page, monkeypatch):
    """Each command's script and config are there, and its flags are settings of the script, as they stand."""
    monkeypatch.chdir(ROOT)
    for name, words in re.findall(r"python (\S+\.py)((?: [^\s#`|<&;]+| --\w+=\"[^\"]*\")*)", TEXTS[page]):
        assert (ROOT / name).exists() or name == "data/NAME/prepare.py", name
        if name not in SETTINGS and not name.startswith("data/") or "NAME" in name or " ..." in words:
            continue  # a script that takes words, not settings; an example that leaves something out
        words = [word.replace('"', "") for word in re.findall(r'--\w+="[^"]*"|\S+', words)]
        configurator.load(settings_class(name), [word for word in words if word != "--help"])


@pytest.mark.parametrize("page", [page for page in NAMES if page not in HISTORY])
def test_every_setting_that_a_page_names_exists(page):
    """Flags in running text, such as `--slots`, are settings of one of the scripts, or other programs' flags."""
    scripts = [*SETTINGS, *(path.relative_to(ROOT).as_posix() for path in ROOT.glob("data/*/prepare.py"))]
    known = set().union(*(settings_class(name).__dataclass_fields__ for name in scripts))
    prose = re.sub(r"```.*?```", "", TEXTS[page], flags=re.DOTALL)
    for code in re.findall(r"`([^`]+)`", prose):
        if code.startswith("--") or code.split()[0] in ("python", "torchrun") and ".py" in code:
            for flag in re.findall(r"(?:^| )--(\w+)(?![\w-])", code):
                assert flag in known | NOT_SETTINGS, f"{page}: --{flag}"


@pytest.mark.parametrize("page", [page for page in NAMES if page not in HISTORY])
def test_every_file_of_a_page_exists(page):
    """Paths of code, settings and scripts, in text and in code: what a page names is there."""
    folders = "config|runs|runtime|ops|tokenization|readers|checkpoint|dataset|training|inference|serving|evaluation"
    for name in re.findall(rf"\b((?:{folders}|benchmarks|tests|docs|assets|web|data)/[\w/.-]+\.\w+)\b", TEXTS[page]):
        assert (ROOT / name).exists() or "NAME" in name, name


def test_the_classes_of_settings_are_where_the_page_says():
    """docs/settings.md names each class of settings beside a file that has it."""
    pairs = re.findall(r"`(\w+(?:Config|Params))` in ([\w/]+\.py)", TEXTS["docs/settings.md"])
    assert len(pairs) >= 8
    for name, file in pairs:
        assert re.search(rf"\b{name}\b", (ROOT / file).read_text(encoding="utf-8")), f"{name} in {file}"


@pytest.mark.parametrize("page", NAMES)
def test_every_link_of_a_page_leads_somewhere(page):
    """A relative link's file exists, and the heading behind a # is in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, target


def test_the_tree_of_the_readme_is_complete():
    """README's tree names each command, folder and module at the top, and some page links to each of docs/."""
    tree = next(block for block in code_blocks("README.md", "") if "ops/" in block)
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    top = {name.partition("/")[0] + "/" * ("/" in name) for name in tracked if (ROOT / name).exists()}
    assert {name for name in top if name.endswith((".py", "/")) and not name.startswith(".")} <= set(
        re.findall(r"[\w.-]+\.py|[\w-]+/", tree)
    )
    linked = " ".join(TEXTS[page] for page in NAMES)
    assert all(
        f"({name}" in linked or f"docs/{name}" in linked for name in (path.name for path in ROOT.glob("docs/*.md"))
    )


def test_the_readme_is_short():
    """What a newcomer reads is at most 170 lines; the rest is in docs/."""
    assert len(TEXTS["README.md"].splitlines()) <= 170
