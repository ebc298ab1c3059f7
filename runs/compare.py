"""
Whether two commits do the same: data prepared, a tiny run, replies, continuations, a report and HTTP answers of each,
to the bit. What tells the time is left out; so are names that changed on purpose (RENAMED).

    $ python runs/compare.py 51a339a HEAD
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

NEW = ("profile", "version")  # settings and fields that only later commits have
RENAMED: dict[str, str] = {}  # a setting's name in the first commit -> in the second
TIMES = ("seconds", "minutes", "elapsed", "tokens_per_s", "supervised_per_s", "created", "created_at", "id", "item_id")
TIMES += ("version", "source", "definition")  # of a report's rows: words about figures, not figures
SHAPE = "--n_layer=2 --n_head=2 --n_embd=64 --block_size=512 --batch_size=2 --max_iters=40 --eval_interval=20"
RUN = f"{SHAPE} --eval_iters=2 --log_interval=1 --warmup_iters=2 --learning_rate=0.005 --device=cpu --threads=1"
CHAT = "--device=cpu --threads=1 --max_new_tokens=24"
COMMANDS = (
    ("chitchat", "data/chitchat/prepare.py --limit=300 --tokenizer=train:1024 --out_dir={out}/chitchat"),
    ("mychats", "data/mychats/prepare.py --source=data/mychats/example_chat.txt --bot=Ann --out_dir={out}/mychats"),
    ("recall", "data/recall/prepare.py --filler={out}/chitchat --tokenizer={out}/chitchat --count=60 --context=256"
               " --out_dir={out}/recall"),
    ("mix", "data/mix/prepare.py --folders={out}/chitchat=1 --folders={out}/recall=1 --tokenizer={out}/chitchat"
            " --out_dir={out}/mix"),
    ("float32", f"train.py --data_dir={{out}}/recall --out_dir={{out}}/float32 --dtype=float32 --unlikelihood=0.5"
                f" {RUN}"),
    ("bfloat16", f"train.py --data_dir={{out}}/mix --out_dir={{out}}/bfloat16 --dtype=bfloat16 --muon=true"
                 f" --schedule=linear {RUN}"),
    ("lora", f"train.py --data_dir={{out}}/recall --init_from={{out}}/float32 --out_dir={{out}}/lora --dtype=float32"
             f" --lora_rank=4 --gradient_checkpointing=true --gradient_accumulation_steps=2 {RUN}"),
    ("resumed", f"train.py --data_dir={{out}}/recall --init_from=resume --out_dir={{out}}/lora --dtype=float32"
                f" --lora_rank=4 --gradient_checkpointing=true --gradient_accumulation_steps=2"
                f" {RUN.replace('max_iters=40', 'max_iters=46')}"),
    ("greedy", f"chat.py --out_dir={{out}}/float32 --temperature=0 {CHAT} --prompt=hi"),
    ("sampled", f"chat.py --out_dir={{out}}/bfloat16 --seed=3 --min_p=0.05 {CHAT} --prompt=hello"),
    ("full", f"chat.py --out_dir={{out}}/lora --weights=full --temperature=0 {CHAT} --prompt=hi --system=you"),
    ("int4", f"sample.py --out_dir={{out}}/float32 --weights=int4 --seed=1 --start=hi {CHAT}"),
    ("report", "evaluate.py --init_from={out}/float32 --data={out}/chitchat --out_dir={out}/report --quick --n=6"
               " --device=cpu --threads=1"),
)  # fmt: skip
HI = [{"role": "system", "content": "you are ann."}, {"role": "user", "content": "hi"}]
REQUESTS = (
    ("/v1/chat/completions", {"messages": HI, "temperature": 0, "max_tokens": 12, "logprobs": True, "top_logprobs": 2}),
    ("/v1/chat/completions", {"messages": HI, "seed": 5, "n": 2, "max_tokens": 12, "stop": ["e"]}),
    ("/v1/chat/completions", {"messages": HI, "temperature": 0, "max_tokens": 8, "stream": True}),
    ("/v1/completions", {"prompt": ["a b", "c"], "temperature": 0, "max_tokens": 6, "logprobs": 1}),
    ("/v1/completions", {"prompt": "a b", "temperature": 0, "max_tokens": 6, "stream": True}),
    ("/v1/responses", {"input": "hi", "instructions": "you are ann.", "temperature": 0, "max_output_tokens": 6}),
    ("/v1/responses", {"input": "hi", "temperature": 0, "max_output_tokens": 6, "stream": True}),
    ("/v1/chat/completions", {"messages": [], "tools": [1]}),
    ("/v1/chat/completions", {"messages": HI, "temperature": -1}),
    ("/v1/chat/completions", {"messages": HI, "max_tokens": 9999}),
    ("/tokenize", {"messages": HI}),
    ("/v1/models", None),
    ("/health", None),
)  # fmt: skip


def timeless(content: object) -> object:
    """JSON without what differs from run to run."""
    if isinstance(content, dict):
        return {RENAMED.get(key, key): timeless(value) for key, value in content.items() if key not in TIMES + NEW}
    if isinstance(content, list):
        return [timeless(item) for item in content if not (isinstance(item, dict) and item.get("group") == "Speed")]
    return content.strip() if isinstance(content, str) else content


def digest(path: Path, out: str) -> str:
    """The content of a file as a hash, without times, and without the folder it lies in."""
    if path.name == "trainer.pt":
        import torch

        state = torch.load(path, map_location="cpu", weights_only=True)
        state["progress"].pop("elapsed")
        parts: list[bytes] = []

        def collect(name: str, value: object) -> None:
            if isinstance(value, dict):
                for key in sorted(value.keys() - set(NEW)):
                    collect(f"{name}.{RENAMED.get(str(key), key)}", value[key])
            elif isinstance(value, torch.Tensor):
                parts.append(name.encode() + value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
            else:
                parts.append(f"{name}={value}".replace(out, "OUT").encode())

        collect("", state)
        return hashlib.sha256(b"".join(parts)).hexdigest()[:16]
    data = path.read_bytes()
    if path.suffix in (".json", ".jsonl"):
        rows = data.decode().splitlines() if path.suffix == ".jsonl" else [data.decode()]
        data = json.dumps([timeless(json.loads(row.replace(out, "OUT"))) for row in rows], sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def answers(tree: Path, out: str, env: dict[str, str]) -> dict[str, str]:
    """What serve.py says to REQUESTS."""
    command = [
        sys.executable,
        "serve.py",
        f"--out_dir={out}/float32",
        "--port=0",
        "--device=cpu",
        "--threads=1",
        "--grace=1",
    ]
    server = subprocess.Popen(command, cwd=tree, env=env, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    found: dict[str, str] = {}
    try:
        port = re.search(r":(\d+);", server.stdout.readline())
        assert port, "serve.py did not start"
        for number, (path, body) in enumerate(REQUESTS):
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{port[1]}{path}", data, {"Content-Type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request) as response:
                    text, status = response.read().decode(), response.status
            except urllib.error.HTTPError as error:
                text, status = error.read().decode(), error.code
            if path == "/health":
                text = json.dumps(timeless(json.loads(text)), sort_keys=True)
            text = re.sub(r'"(id|item_id|created|created_at)": ?("[^"]*"|\d+)', '"TIME"', text)
            found[f"HTTP {number + 1} {path}"] = f"{status} {hashlib.sha256(text.encode()).hexdigest()[:16]}"
    finally:
        server.terminate()
        server.wait(timeout=30)
    return found


def measured(commit: str, work: Path) -> dict[str, str]:
    """Name -> hash, or text, of everything that a commit makes."""
    tree, out = work / commit, str(work / "out")
    subprocess.run(["git", "worktree", "add", "--detach", "--force", tree, commit], check=True, capture_output=True)
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": "", "TOKENIZERS_PARALLELISM": "false"}
    found: dict[str, str] = {}
    try:
        Path(out).mkdir()
        for name, command in COMMANDS:
            words = [sys.executable, *command.format(out=out).split()]
            done = subprocess.run(words, cwd=tree, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            text = "\n".join(line for line in done.stdout.splitlines() if not re.match(r"iter |.*about .* for", line))
            text = "" if name == "report" else text.replace(out, "OUT")  # its table has speeds
            if done.returncode:
                text = f"exit {done.returncode}: {done.stderr[-300:]}"
            found[f"{name}: printed"] = (
                text
                if name in ("greedy", "sampled", "full", "int4")
                else hashlib.sha256(text.encode()).hexdigest()[:16]
            )
            print(f"{commit}: {name}", done.stderr[-300:] if done.returncode else "", file=sys.stderr)
            for path in sorted(Path(out, name).glob("*")):
                if path.suffix not in (".png", ".md"):
                    found[f"{name}/{path.name}"] = digest(path, out)
        found |= answers(tree, out, env)
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", tree], capture_output=True)
        Path(out).rename(work / f"out-{commit}-{int(time.time())}")
    return found


def compare(first: str, second: str) -> int:
    """Print what both commits make side by side; the number of differences."""
    with tempfile.TemporaryDirectory() as folder:
        a, b = (measured(commit, Path(folder)) for commit in (first, second))
    different = 0
    for name in sorted(a.keys() | b.keys()):
        same = a.get(name) == b.get(name)
        different += not same
        print(
            f"{'same     ' if same else 'DIFFERENT'} {name}: {a.get(name)!r}"
            + ("" if same else f" and {b.get(name)!r}")
        )
    print(f"{len(a.keys() | b.keys())} things compared, {different} different")
    return different


if __name__ == "__main__":
    sys.exit(1 if compare(sys.argv[1], sys.argv[2]) else 0)
