"""
What the README says is true: every command in it runs, in its order, in a copy of the files that git tracks.

There is no hub here: a random GPT-2 in a folder called gpt2 stands for the hub's, a few dialogues for PersonaChat, and
flags behind each command make it short.
"""

import os
import re
import shutil
import signal
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
from sample import SampleConfig
from serve import ServeConfig
from train import TrainConfig

README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = {
    "train.py": TrainConfig,
    "chat.py": ChatConfig,
    "sample.py": SampleConfig,
    "serve.py": ServeConfig,
    "evaluate.py": EvaluateConfig,
    "bench.py": BenchConfig,
}
ELSEWHERE = ("runs/test.sh", "runs/bench.sh")  # this; what needs the peers built, and of which bench.py is run here
# a model that is measured within seconds in the place of all others
SMALL = (
    "(test -d out-untrained || (python train.py config/train_tiny.py --max_iters=2 --out_dir=out-untrained &&"
    " for each in out-chitchat out-chat; do rm -r $each && cp -r out-untrained $each; done))"
)
DIALOGUES = """1 your persona: i have two dogs.
2 hi , how are you ?\tgreat , my dogs are asleep .
3 what are they called ?\trex and bella .
"""


def settings_of(name):
    """The settings dataclass of the script at this path."""
    if name in SETTINGS:
        return SETTINGS[name]
    module = script(Path(name).parent.name)
    own = [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, PrepareConfig) and one is not PrepareConfig
    ]
    return own[0] if own else PrepareConfig


def commands(language="sh"):
    """The lines of the README's code blocks in `language`, without their comments."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    return [line.partition("  #")[0].partition(" # ")[0].strip() for block in blocks for line in block.splitlines()]


def short(command):
    """The command, made to end soon and to need no hub."""
    if command.startswith("bash runs/quickstart.sh"):
        return f"MINUTES=0.1 {command} < questions.txt"
    if "report.sh" in command:
        return f"{SMALL} && {command} --n=2"
    if "evaluate.py" in command:
        return f"{SMALL} && {command} --n=2 --data=data/chitchat"
    if "--what=train" in command:
        return f"{command} --n_layer=1 --n_embd=48 --block_size=32 --batch_size=2 --steps=3 --runs=1"
    if "bench.py" in command:
        return f"{command} --init_from=gpt2 --prompt_tokens=8 --new_tokens=4 --runs=1"
    if "train.py" in command:
        return f"{command} --max_iters=2 --warmup_iters=0 --block_size=64 --eval_iters=1 --overwrite=true --device=cpu"
    if "personachat/prepare.py" in command:
        return f"{command} --source=dialogues.txt"
    if "prepare.py" in command:
        return command
    if "serve.py" in command:
        ready = "until curl -sf http://127.0.0.1:8000/health; do sleep 0.2; kill -0 $(cat serve.pid) || exit 1; done"
        return f"{SMALL} && {{ {command} > serve.log 2>&1 & echo $! > serve.pid; }} && {ready}"
    if "printf" in command or "--prompt" in command or "sample.py" in command:
        return f"{command} --max_new_tokens=5"
    return f"{command} --max_new_tokens=5 < questions.txt"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The tracked files in a new folder, with this environment as its .venv and stand-ins for what the hub has."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("clone")
    for name in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=32, n_positions=128)).save_pretrained(folder / "gpt2")
    (folder / "dialogues.txt").write_text(DIALOGUES * 3, encoding="utf-8")
    (folder / "questions.txt").write_text("hi\nwhat are your dogs called?\n", encoding="utf-8")
    yield folder
    if (folder / "serve.pid").exists():
        os.kill(int((folder / "serve.pid").read_text(encoding="utf-8")), signal.SIGTERM)


@pytest.mark.skipif(not (Path(sys.prefix) / "bin" / "activate").exists(), reason="the tests do not run in a venv")
def test_every_command_runs(clone):
    """In the README's order, each command ends with 0; where the bot speaks, it answers."""
    ran = [command for command in commands() if command and not any(each in command for each in ELSEWHERE)]
    assert len(ran) >= 10
    for command in ran:
        done = subprocess.run(
            ["bash", "-c", f"source .venv/bin/activate; {short(command)}"], cwd=clone, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{short(command)}\n{done.stdout}\n{done.stderr}"
        if "quickstart" in command or "printf" in command:
            assert len(done.stdout.splitlines()) == 2, done.stdout + done.stderr
    for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL):
        done = subprocess.run([sys.executable, "-c", block], cwd=clone, capture_output=True, text=True)
        assert done.returncode == 0, f"{block}\n{done.stderr}"


def test_every_flag_and_file_exists(monkeypatch):
    """Each command's script and config are there, and its flags are settings of the script, as they stand."""
    monkeypatch.chdir(ROOT)
    seen = 0
    for name, words in re.findall(r"python (\S+\.py)((?: [^\s#`|<]+| --\w+=\"[^\"]*\")*)", README):
        assert (ROOT / name).exists(), name
        words = [word.replace('"', "") for word in re.findall(r'--\w+="[^"]*"|\S+', words)]
        configurator.load(settings_of(name), words)
        seen += 1
    assert seen >= 10


def test_every_file_is_told_of():
    """The README's table of files names each module and script, and nothing that is gone."""
    named = set(re.findall(r"\b(\w+\.py)\b", README))
    assert {path.name for path in ROOT.glob("*.py")} <= named
    for name in re.findall(r"(?:config|runs)/\w+\.\w+", README):
        assert (ROOT / name).exists(), name
