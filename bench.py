"""
Measure speed on this machine.

    $ python bench.py --what=decode --weights=int8 --prompt_tokens=64 --new_tokens=64     # a GPT-2 124M, random weights
    $ python bench.py --what=decode --init_from=out-chat --batch=8 --peers=hf,ctranslate2,llamacpp,uncached
    $ python bench.py --what=turns --plot=turns.png           # the first token, as a conversation grows
    $ python bench.py --what=train --n_layer=6 --n_head=6 --n_embd=384 --block_size=256 --batch_size=16
    $ python bench.py --what=quality --minutes=4              # what train.py has learned by then, from scratch
    $ python bench.py --what=serve --clients=32 --slots=32 --bad=10000 --soak_minutes=60 --peers=llamacpp
    $ python bench.py --what=prepare --json=prepare.json      # a made-up WhatsApp export, parsed, masked, tokenised

train and quality stand beside nanoGPT's own loop (reference.py). The peers are other programs (requirements-bench.txt)
on the same weights, run in turn with ours.
"""

import contextlib
import dataclasses
import io
import json
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

import atomic
import checkpoint
import configurator
import engine
import load
import peers
import preparation
import readers
import reference
import tokenizer
from configurator import InputError
from model import GPT, GPTConfig
from readers import layouts, private
from sampling import Sampling

WORDS = "i you we they the a to of in it is was that for on are with as at be this have from or had by not but what all"
HISTORIES = (50, 100, 200, 400, 600, 900)  # tokens of a conversation before its next question


@dataclass(frozen=True)
class BenchConfig:
    """Measure speed on this machine."""

    what: Literal["decode", "turns", "train", "quality", "serve", "prepare"] = "decode"  # what to measure
    init_from: str = "random"  # a GPT-2 folder; random: a GPT-2 124M that was never trained
    weights: Literal["full", "bfloat16", "int8", "int4"] = "int8"  # how they are kept
    prompt_tokens: int = 64
    new_tokens: int = 64
    batch: int = 1  # conversations at once
    peers: str = ""  # with decode: some of hf, ctranslate2, llamacpp, uncached, commas between; with serve: llamacpp
    threads: int | None = None  # CPU threads; default: one a core
    data_dir: str = "data/chitchat"  # with train: what a prepare.py wrote
    n_layer: int = 6  # with train, as train.py has them
    n_head: int = 6
    n_embd: int = 384
    block_size: int = 256
    batch_size: int = 16
    steps: int = 12  # with train: of each run, of which the first two warm up
    minutes: float = 4.0  # with quality: of config/train_chitchat.py, all in all
    reference_steps: int = 420  # with quality: of nanoGPT's loop, each of batch_size x block_size tokens
    clients: int = 32  # with serve: who ask at one moment
    slots: int = 32  # with serve: of the server
    bad: int = 0  # with serve: bad requests beside a good chat
    soak_minutes: float = 0.0  # with serve: of mixed load, with clients that leave
    messages: int = 500_000  # with prepare: in the export that is made up
    runs: int = 5  # how often; the median counts
    json: str | None = None  # a file to write the figures to
    plot: str | None = None  # a file to draw them in, FILE.png

    def __post_init__(self):
        shape = ("n_layer", "n_head", "n_embd", "block_size", "batch_size")
        for name in (
            "prompt_tokens",
            "new_tokens",
            "batch",
            "messages",
            "runs",
            "reference_steps",
            "clients",
            "slots",
            *shape,
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 1")
        if self.new_tokens < 2:
            raise ValueError(f"new_tokens ({self.new_tokens}) must be at least 2: the first one is prefill")
        if self.steps <= reference.WARM:
            raise ValueError(f"steps ({self.steps}) must be above {reference.WARM}, the first of which warm up")
        for name in self.others:
            if name not in peers.ENGINES or name == "ours":
                raise ValueError(f"peers ({self.peers}): {name} is none of hf, ctranslate2, llamacpp, uncached")
        if set(self.others) - {"decode": set(peers.ENGINES), "serve": {"llamacpp"}}.get(self.what, set()):
            raise ValueError(f"peers ({self.peers}) are for decode; for serve there is llamacpp")
        if self.plot and self.what not in ("decode", "turns"):
            raise ValueError(f"plot is for decode and turns, not for {self.what}")

    @property
    def others(self):
        return [name.strip() for name in self.peers.split(",") if name.strip()]


def bench(config):
    measures = {"decode": decode_figures, "turns": turns_figures, "train": reference.speed}
    measures |= {"quality": reference.quality, "serve": serve_figures, "prepare": prepare_figures}
    threads = config.threads or torch.get_num_threads()
    machine = f"{processor()}, {threads} threads, {platform.system()}, Python {platform.python_version()}"
    print(f"{machine}, torch {torch.__version__}")
    figures = measures[config.what](dataclasses.replace(config, threads=threads))
    if config.json:
        content = {**dataclasses.asdict(config), "machine": machine, **figures}
        with atomic.file(config.json) as new:
            new.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {config.json}")
    if config.plot:
        with atomic.file(config.plot) as new:
            plot(new, config, figures)
        print(f"wrote {config.plot}")


def processor():
    """What the machine's processor calls itself."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {torch.backends.cpu.get_cpu_capability()}"
    return platform.processor() or platform.machine()


@contextlib.contextmanager
def model_folder(config):
    """(the folder to measure, a folder for what is made of it); "random" makes a GPT-2 124M."""
    with tempfile.TemporaryDirectory() as work:
        folder = config.init_from
        if folder == "random":
            torch.manual_seed(0)
            words = tokenizer.load("gpt2")
            folder = str(Path(work, "gpt2-random"))
            checkpoint.save(folder, GPT(GPTConfig(vocab_size=words.n_vocab)), words, {})
        yield folder, work


def decode_figures(config):
    """Tokens a second of ours and of the peers, each run in turn on prompts that nobody has seen."""
    others = []
    for name in config.others:
        if peers.missing(name):
            print(f"{name} is not installed and left out: pip install -r requirements-bench.txt", file=sys.stderr)
        else:
            others.append(name)
    with model_folder(config) as (folder, work), contextlib.ExitStack() as stack:
        model, _, _ = checkpoint.load(folder)
        shape, vocab_size = model.config, model.config.vocab_size
        del model
        if config.prompt_tokens + config.new_tokens > shape.block_size:
            raise InputError(
                f"--prompt_tokens={config.prompt_tokens} and --new_tokens={config.new_tokens} do not fit in the "
                f"context of {config.init_from}, {shape.block_size} tokens"
            )
        settings = dict(folder=folder, weights=config.weights, threads=config.threads, batch=config.batch, work=work)
        settings |= dict(prompt_tokens=config.prompt_tokens, new_tokens=config.new_tokens)
        engines = [stack.enter_context(peers.Contender(name, **settings)) for name in ("ours", *others)]
        rng, timings, bandwidths = random.Random(0), {one.name: [] for one in engines}, []
        for run in range(config.runs + 1):
            prompts = [[rng.randrange(vocab_size) for _ in range(config.prompt_tokens)] for _ in range(config.batch)]
            bandwidths.append(bandwidth(config.threads))
            for one in engines:
                time.sleep(0.3)  # threads of the one before spin a little on
                timing = one.run(prompts)
                timings[one.name] += [timing] if run else []  # the first run warms up
        found = {one.name: summary(one, timings[one.name], config) for one in engines}
    ours = found.pop("ours")
    bytes = engines[0].bytes
    ours["rss_beyond_torch_mb"] = ours["rss_mb"] - torch_mb()
    ours["bandwidth_gb_s"] = statistics.median(bandwidths)
    limit = ours["bandwidth_gb_s"] * 1e9 / bytes * config.batch
    ours["bandwidth_share"] = ours["decode_tokens_per_s"] / limit
    for theirs in found.values():
        theirs["ratio_decode"] = ours["decode_tokens_per_s"] / theirs["decode_tokens_per_s"]
        theirs["ratio_prefill"] = ours["prefill_tokens_per_s"] / theirs["prefill_tokens_per_s"]
    show(config, ours, found, bytes, limit)
    return {**ours, "peers": found}


def summary(one, timings, config):
    """The figures of an engine's runs."""
    new = config.batch * (config.new_tokens - 1)
    rates = sorted(new / (timing.whole - timing.first) for timing in timings)
    first = statistics.median(timing.first for timing in timings)
    return {
        "label": one.label,
        "decode_tokens_per_s": statistics.median(rates),
        "decode_tokens_per_s_best": rates[-1],
        "decode_tokens_per_s_worst": rates[0],
        "prefill_tokens_per_s": config.batch * config.prompt_tokens / first,
        "ttft_ms": 1000 * first,
        "rss_mb": timings[-1].resident,
    }


def show(config, ours, found, bytes, limit):
    """Print the table of decode_figures."""
    print(
        f"prompt {config.prompt_tokens}, new {config.new_tokens}, conversations {config.batch}, "
        f"median of {config.runs} runs (worst to best), all in turn"
    )
    head = ("", "decode tok/s", "worst to best", "prefill tok/s", "first token", "memory", "we decode", "we prefill")
    lines = [head]
    for each in (ours, *found.values()):
        ratios = [f"{each[name]:.2f} x" if name in each else "" for name in ("ratio_decode", "ratio_prefill")]
        spread = f"{each['decode_tokens_per_s_worst']:,.0f} to {each['decode_tokens_per_s_best']:,.0f}"
        lines.append((each["label"], f"{each['decode_tokens_per_s']:,.1f}", spread,
                      f"{each['prefill_tokens_per_s']:,.0f}", f"{each['ttft_ms']:,.1f} ms", f"{each['rss_mb']:,.0f} MB",
                      *ratios))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *rest in lines:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        print("  ".join(cells).rstrip())
    print(
        f"memory reads {ours['bandwidth_gb_s']:.1f} GB/s, a token reads {bytes / 1e6:.0f} MB of weights: at most "
        f"{limit:,.0f} tok/s, of which ours are {ours['bandwidth_share']:.0%}; "
        f"{ours['rss_beyond_torch_mb']:.0f} MB beyond an imported torch"
    )


def bandwidth(threads):
    """GB/s at which this machine's memory is read: the median of sums over 256 MB."""
    torch.set_num_threads(threads)
    numbers = torch.ones(2**26)
    seconds = []
    for _ in range(9):
        begun = time.perf_counter()
        numbers.sum()
        seconds.append(time.perf_counter() - begun)
    return 4 * len(numbers) / statistics.median(seconds) / 1e9


def torch_mb():
    """MB of a process that has imported torch and done nothing."""
    code = "import torch, psutil; print(psutil.Process().memory_info().rss / 1e6)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def turns_figures(config):
    """Milliseconds to the first token of a reply, by the tokens of conversation that are before its question."""
    with model_folder(config) as (folder, _):
        speaker, _ = engine.opened(
            engine.EngineConfig(init_from=folder, weights=config.weights, threads=config.threads)
        )
        question, rng = 12, random.Random(0)
        histories = [n for n in HISTORIES if n + question + 2 <= speaker.block_size]
        greedy = Sampling(temperature=0, repetition_penalty=1.0, max_new_tokens=1)
        times = {n: [] for n in histories}
        for run in range(config.runs + 1):
            ids = []
            for n in histories:
                ids += [rng.randrange(speaker.tokenizer.n_vocab) for _ in range(n - len(ids))]
                list(speaker.generate(ids, greedy))  # the history is read, as it is when it was talked
                asked = ids + [rng.randrange(speaker.tokenizer.n_vocab) for _ in range(question)]
                begun = time.perf_counter()
                next(speaker.generate(asked, greedy))
                times[n] += [1000 * (time.perf_counter() - begun)] if run else []
    medians = {n: statistics.median(each) for n, each in times.items()}
    print(f"first token after a question of {question} tokens, weights {config.weights}, median of {config.runs} runs:")
    for n, ms in medians.items():
        print(f"after {n:4} tokens of conversation: {ms:6.1f} ms")
    growth = medians[histories[-1]] / medians[histories[0]]
    print(f"from {histories[0]} to {histories[-1]} tokens it grows {growth:.2f} x")
    return {"history_tokens": list(medians), "ttft_ms": list(medians.values()), "ttft_growth": growth}


def serve_figures(config):
    """serve.py under load; beside it llama.cpp's servers, and its library with as many sequences in one batch."""
    rivals = "llamacpp" in config.others and not peers.missing("llamacpp")
    if "llamacpp" in config.others and not rivals:
        print("llamacpp is not installed and left out: pip install -r requirements-bench.txt", file=sys.stderr)
    n, threads = config.slots, config.threads
    with model_folder(config) as (folder, work), contextlib.ExitStack() as stack:
        others = []
        if rivals:
            gguf = peers.gguf_of(folder, config.weights, threads, work)
            kinds = (None, n) if shutil.which("llama-server") else (None,)
            room = peers.cells(config.prompt_tokens, config.new_tokens)
            others = [stack.enter_context(load.LlamaServer(gguf, threads, room, slots)) for slots in kinds]
        figures = load.figures(config, folder, print, others)
        if rivals:
            rng, rates, n_vocab = random.Random(0), [], tokenizer.load(folder).n_vocab
            settings = dict(folder=folder, weights=config.weights, threads=threads, batch=n, work=work)
            settings |= dict(prompt_tokens=config.prompt_tokens, new_tokens=config.new_tokens)
            with peers.Contender("llamacpp", **settings) as one:
                for run in range(config.runs + 1):
                    prompts = [[rng.randrange(n_vocab) for _ in range(config.prompt_tokens)] for _ in range(n)]
                    rates += [n * config.new_tokens / one.run(prompts).whole] if run else []
            theirs = statistics.median(rates)
            ratio = figures["many_tokens_per_s"] / theirs
            label = f"{one.label}, its library without a server, {n} sequences in a batch"
            print(f"{label}: {theirs:,.1f} tok/s; we {ratio:.2f} x")
            figures["peers"][label] = theirs
    return figures


def prepare_figures(config):
    """Messages a second from a WhatsApp export to the files that train.py reads, and of the parsing alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chat.txt"
        written = whatsapp_export(path, config.messages)
        settings = preparation.PrepareConfig(source=(str(path),), out_dir=str(Path(folder) / "data"))
        about = {"name": "made up", "licence": "none", "url": "none"}

        def conversations(settings, skipped):
            found = layouts.recognised(readers.opened(settings), skipped)
            return layouts.records(found, "Ann", 8.0, skipped)

        whole, parsing = [], []
        for _ in range(config.runs):
            begun = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                preparation.prepare(settings, "", conversations, about, private.masked)
            whole.append(config.messages / (time.perf_counter() - begun))
            begun = time.perf_counter()
            for _ in conversations(settings, readers.Skipped()):
                pass
            parsing.append(config.messages / (time.perf_counter() - begun))
    figures = {
        "export_mb": written / 1e6,
        "prepare_messages_per_s": statistics.median(whole),
        "prepare_messages_per_s_best": max(whole),
        "prepare_messages_per_s_worst": min(whole),
        "parse_messages_per_s": statistics.median(parsing),
    }
    for name, value in figures.items():
        print(f"{name}: {value:,.2f}")
    return figures


def whatsapp_export(path, n, seed=0):
    """Write an export of `n` messages of 1 to 18 words, a fortieth of them after a night; returns its bytes."""
    rng, words, at = random.Random(seed), WORDS.split(), 1_600_000_000
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(n):
            at += 40_000 if rng.random() < 0.025 else rng.randint(1, 300)
            stamp = time.strftime("%d.%m.%y, %H:%M:%S", time.gmtime(at))
            text = " ".join(rng.choices(words, k=rng.randint(1, 18)))
            file.write(f"[{stamp}] {rng.choice(('Ann', 'Ben'))}: {text}\n")
    return path.stat().st_size


def plot(path, config, figures):
    """One picture: bars of tokens a second, or the first token against the conversation's length."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(7, 3.6), dpi=120, layout="constrained")
    axes = picture.subplots()
    if config.what == "turns":
        axes.plot(figures["history_tokens"], figures["ttft_ms"], marker="o", color="#1f6fb4")
        axes.set(xlabel="tokens of conversation before the question", ylabel="first token, ms")
        axes.set_ylim(0, 1.15 * max(figures["ttft_ms"]))
    else:
        rows = [figures, *figures["peers"].values()]
        names, values = [row["label"] for row in rows], [row["decode_tokens_per_s"] for row in rows]
        low = [row["decode_tokens_per_s"] - row["decode_tokens_per_s_worst"] for row in rows]
        high = [row["decode_tokens_per_s_best"] - row["decode_tokens_per_s"] for row in rows]
        colours = ["#1f6fb4", *["#9a9a9a"] * (len(rows) - 1)]
        bars = axes.barh(names, values, color=colours, xerr=(low, high), error_kw={"elinewidth": 1})
        axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=6)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        conversations = f"{config.batch} conversation{'s' * (config.batch > 1)}"
        axes.set(xlabel=f"new tokens a second, {conversations}, prompt of {config.prompt_tokens}")
    axes.spines[["top", "right"]].set_visible(False)
    picture.savefig(path, format="png")


if __name__ == "__main__":
    configurator.main(bench, BenchConfig)
