"""Replies a second beside other engines, and turns of a long chat."""

import contextlib
import random
import statistics
import subprocess
import sys
import time

import torch

from benchmarks import peers
from benchmarks.peers import model_to_measure
from checkpoint import model_folder
from inference.loading import open_engine
from inference.settings import EngineConfig, SamplingParams
from runtime.errors import InputError

HISTORIES = (50, 100, 200, 400, 600, 900)  # tokens of a conversation before its next question


def decode_figures(config):
    """Tokens a second of ours and of the peers, each run in turn on prompts that nobody has seen."""
    others = []
    for name in config.others:
        if peers.missing(name):
            print(f"{name} is not installed and left out: pip install -r runs/requirements-bench.txt", file=sys.stderr)
        else:
            others.append(name)
    with model_to_measure(config) as (folder, work), contextlib.ExitStack() as stack:
        model, _, _ = model_folder.load(folder)
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
            bandwidths.append(memory_bandwidth(config.threads))
            for one in engines:
                time.sleep(0.3)  # threads of the one before spin a little on
                timing = one.run(prompts)
                timings[one.name] += [timing] if run else []  # the first run warms up
        found = {one.name: summary(one, timings[one.name], config) for one in engines}
    ours = found.pop("ours")
    bytes = engines[0].bytes
    ours["rss_beyond_torch_mb"] = ours["rss_mb"] - torch_megabytes()
    ours["bandwidth_gb_s"] = statistics.median(bandwidths)
    limit = ours["bandwidth_gb_s"] * 1e9 / bytes * config.batch
    ours["bandwidth_share"] = ours["decode_tokens_per_s"] / limit
    for theirs in found.values():
        theirs["ratio_decode"] = ours["decode_tokens_per_s"] / theirs["decode_tokens_per_s"]
        theirs["ratio_prefill"] = ours["prefill_tokens_per_s"] / theirs["prefill_tokens_per_s"]
    print_table(config, ours, found, bytes, limit)
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


def print_table(config, ours, found, bytes, limit):
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


def memory_bandwidth(threads):
    """GB/s at which this machine's memory is read: the median of sums over 256 MB."""
    torch.set_num_threads(threads)
    numbers = torch.ones(2**26)
    seconds = []
    for _ in range(9):
        begun = time.perf_counter()
        numbers.sum()
        seconds.append(time.perf_counter() - begun)
    return 4 * len(numbers) / statistics.median(seconds) / 1e9


def torch_megabytes():
    """MB of a process that has imported torch and done nothing."""
    code = "import torch, psutil; print(psutil.Process().memory_info().rss / 1e6)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def turns_figures(config):
    """Milliseconds to the first token of a reply, by the tokens of conversation that are before its question."""
    with model_to_measure(config) as (folder, _):
        speaker, _ = open_engine(EngineConfig(init_from=folder, weights=config.weights, threads=config.threads))
        question, rng = 12, random.Random(0)
        histories = [n for n in HISTORIES if n + question + 2 <= speaker.block_size]
        greedy = SamplingParams(temperature=0, repetition_penalty=1.0, max_new_tokens=1)
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
