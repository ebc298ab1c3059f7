"""Replies a second beside other engines, and the first token of a reply as a conversation grows."""

import contextlib
import functools
import random
import statistics
import subprocess
import sys
import time
from typing import Any

import torch

from benchmarks import peers
from benchmarks.models import gpt_config_of, model_to_measure
from benchmarks.peers import EngineProcess, Timing, Workload
from benchmarks.settings import BenchConfig
from inference.loading import open_engine
from inference.settings import EngineConfig, SamplingParams
from runtime import figure
from runtime.errors import InputError
from runtime.profiler import profiled

HISTORIES = (50, 100, 200, 400, 600, 900)  # tokens of a conversation before its next question
QUESTION_TOKENS = 12
PAUSE = 0.3  # seconds between two engines: the threads of the one before spin on for a little


def decode_figures(config: BenchConfig) -> dict[str, Any]:
    """
    Tokens a second of ours and, under "peers", of each other engine. All run in turn, each time on prompts that none
    has seen; the first run warms up. Raises InputError if the model is not there, or its context too short.
    """
    names = ["ours"]
    for name in config.peer_names:
        if peers.is_missing(name):
            print(f"{name} is not installed and left out: pip install -r runs/requirements-bench.txt", file=sys.stderr)
        else:
            names.append(name)
    with model_to_measure(config) as (folder, work), contextlib.ExitStack() as stack:
        shape = gpt_config_of(folder)
        if config.prompt_tokens + config.new_tokens > shape.block_size:
            raise InputError(
                f"--prompt_tokens={config.prompt_tokens} and --new_tokens={config.new_tokens} do not fit in the "
                f"context of {config.init_from}, {shape.block_size} tokens"
            )
        workload = Workload.of(config, folder, work, batch=config.batch)
        engines = [stack.enter_context(EngineProcess(name, workload)) for name in names]
        rng = random.Random(0)
        timings: dict[str, list[Timing]] = {name: [] for name in names}
        bandwidths: list[float] = []
        for run in range(config.runs + 1):
            prompts = random_prompts(rng, config.batch, config.prompt_tokens, shape.vocab_size)
            bandwidths.append(memory_bandwidth(config.n_threads, config.device))
            for engine in engines:
                time.sleep(PAUSE)
                timing = engine.run(prompts)
                timings[engine.name] += [timing] if run else []
        if config.profile:
            prompts = random_prompts(rng, config.batch, config.prompt_tokens, shape.vocab_size)
            engines[0].run(prompts, profile=config.profile)
        figures = {engine.name: run_figures(engine.label, timings[engine.name], config) for engine in engines}
        bytes_read = engines[0].bytes_read
    ours = figures.pop("ours")
    ours["rss_beyond_torch_mb"] = ours["rss_mb"] - torch_megabytes()
    ours["bandwidth_gb_s"] = statistics.median(bandwidths)
    limit = ours["bandwidth_gb_s"] * 1e9 / bytes_read * config.batch  # tokens/s, if memory alone were the limit
    ours["bandwidth_share"] = ours["decode_tokens_per_s"] / limit
    for theirs in figures.values():
        theirs["ratio_decode"] = ours["decode_tokens_per_s"] / theirs["decode_tokens_per_s"]
        theirs["ratio_prefill"] = ours["prefill_tokens_per_s"] / theirs["prefill_tokens_per_s"]
    print_table(config, [ours, *figures.values()])
    print(
        f"memory reads {ours['bandwidth_gb_s']:.1f} GB/s, a token reads {bytes_read / 1e6:.0f} MB of weights: at most "
        f"{limit:,.0f} tok/s, of which ours are {ours['bandwidth_share']:.0%}; "
        f"{ours['rss_beyond_torch_mb']:.0f} MB beyond an imported torch"
    )
    return {**ours, "peers": figures}


def random_prompts(rng: random.Random, n: int, tokens: int, vocab_size: int) -> list[list[int]]:
    """n prompts of so many random ids."""
    return [[rng.randrange(vocab_size) for _ in range(tokens)] for _ in range(n)]


def run_figures(label: str, timings: list[Timing], config: BenchConfig) -> dict[str, Any]:
    """The figures of an engine's runs: tokens a second of all conversations together, the median first."""
    new_tokens = config.batch * (config.new_tokens - 1)  # after the first ones, which prefill gives
    rates = sorted(new_tokens / (timing.whole - timing.first) for timing in timings)
    first = statistics.median(timing.first for timing in timings)
    return {
        "label": label,
        "decode_tokens_per_s": statistics.median(rates),
        "decode_tokens_per_s_best": rates[-1],
        "decode_tokens_per_s_worst": rates[0],
        "prefill_tokens_per_s": config.batch * config.prompt_tokens / first,
        "ttft_ms": 1000 * first,
        "rss_mb": timings[-1].resident,
    }


def print_table(config: BenchConfig, rows: list[dict[str, Any]]) -> None:
    """Print the figures of each engine, ours first."""
    print(
        f"prompt {config.prompt_tokens}, new {config.new_tokens}, conversations {config.batch}, "
        f"median of {config.runs} runs (worst to best), all in turn"
    )
    head = ("", "decode tok/s", "worst to best", "prefill tok/s", "first token", "memory", "we decode", "we prefill")
    lines: list[tuple[str, ...]] = [head]
    for row in rows:
        ratios = [f"{row[name]:.2f} x" if name in row else "" for name in ("ratio_decode", "ratio_prefill")]
        spread = f"{row['decode_tokens_per_s_worst']:,.0f} to {row['decode_tokens_per_s_best']:,.0f}"
        lines.append((row["label"], f"{row['decode_tokens_per_s']:,.1f}", spread,
                      f"{row['prefill_tokens_per_s']:,.0f}", f"{row['ttft_ms']:,.1f} ms", f"{row['rss_mb']:,.0f} MB",
                      *ratios))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *rest in lines:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        print("  ".join(cells).rstrip())


def memory_bandwidth(threads: int, device: str = "cpu") -> float:
    """GB/s at which the memory is read: the median of nine sums over 256 MB, or on a GPU of copies of 2 GB."""
    torch.set_num_threads(threads)
    if device == "cuda":
        return gpu_bandwidth()
    numbers = torch.ones(2**26)
    seconds = []
    for _ in range(9):
        start = time.perf_counter()
        numbers.sum()
        seconds.append(time.perf_counter() - start)
    return 4 * len(numbers) / statistics.median(seconds) / 1e9


@functools.cache
def gpu_bandwidth() -> float:
    """GB/s that are read and written in copies within the card's memory: the median of nine."""
    source, target = torch.ones(2**29, device="cuda"), torch.empty(2**29, device="cuda")
    rates = []
    for _ in range(9):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        target.copy_(source)
        after.record()
        torch.cuda.synchronize()
        rates.append(2 * source.nbytes / (before.elapsed_time(after) / 1000) / 1e9)
    return statistics.median(rates)


@functools.cache
def torch_megabytes() -> float:
    """MB of a process that has imported torch and done nothing."""
    code = "import torch, psutil; print(psutil.Process().memory_info().rss / 1e6)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def turns_figures(config: BenchConfig) -> dict[str, Any]:
    """Milliseconds to the first token of a reply, by the tokens of conversation that come before its question."""
    with model_to_measure(config) as (folder, _):
        engine, _ = open_engine(EngineConfig(init_from=folder, weights=config.weights, threads=config.threads))
        rng = random.Random(0)
        histories = [n for n in HISTORIES if n + QUESTION_TOKENS + 2 <= engine.block_size]
        greedy = SamplingParams(temperature=0, repetition_penalty=1.0, max_new_tokens=1)

        def conversation() -> dict[int, float]:
            """For each length of the history: the milliseconds to the first token, in one growing conversation."""
            ids: list[int] = []
            milliseconds = {}
            for n in histories:
                ids += [rng.randrange(engine.tokenizer.n_vocab) for _ in range(n - len(ids))]
                list(engine.generate(ids, greedy))  # the history is computed, as it is when it was talked
                prompt = ids + [rng.randrange(engine.tokenizer.n_vocab) for _ in range(QUESTION_TOKENS)]
                start = time.perf_counter()
                next(engine.generate(prompt, greedy))
                milliseconds[n] = 1000 * (time.perf_counter() - start)
            return milliseconds

        runs = [conversation() for _ in range(config.runs + 1)][1:]  # the first warms up
        with profiled(config.profile):
            if config.profile:
                conversation()
    medians = {n: statistics.median(run[n] for run in runs) for n in histories}
    print(
        f"first token after a question of {QUESTION_TOKENS} tokens, weights {config.weights}, "
        f"median of {config.runs} runs:"
    )
    for n, ms in medians.items():
        print(f"after {n:4} tokens of conversation: {ms:6.1f} ms")
    growth = medians[histories[-1]] / medians[histories[0]]
    print(f"from {histories[0]} to {histories[-1]} tokens it grows {growth:.2f} x")
    return {"history_tokens": list(medians), "ttft_ms": list(medians.values()), "ttft_growth": growth}


def plot(path: str, config: BenchConfig, figures: dict[str, Any]) -> None:
    """Write a PNG: bars of tokens a second, or the first token against the conversation's length."""
    picture = figure.new_figure(height=3.6)
    axes = picture.subplots()
    if config.what == "turns":
        axes.plot(figures["history_tokens"], figures["ttft_ms"], marker="o", color=figure.BLUE)
        axes.set(xlabel="tokens of conversation before the question", ylabel="first token, ms")
        axes.set_ylim(0, 1.15 * max(figures["ttft_ms"]))
    else:
        rows = [figures, *figures["peers"].values()]
        names, values = [row["label"] for row in rows], [row["decode_tokens_per_s"] for row in rows]
        low = [row["decode_tokens_per_s"] - row["decode_tokens_per_s_worst"] for row in rows]
        high = [row["decode_tokens_per_s_best"] - row["decode_tokens_per_s"] for row in rows]
        colours = [figure.BLUE, *[figure.GREY] * (len(rows) - 1)]
        bars = axes.barh(names, values, color=colours, xerr=(low, high), error_kw={"elinewidth": 1})
        axes.bar_label(bars, [f"{value:,.0f}" for value in values], padding=6)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        conversations = f"{config.batch} conversation{'s' * (config.batch > 1)}"
        axes.set(xlabel=f"new tokens a second, {conversations}, prompt of {config.prompt_tokens}")
    figure.style_axes(axes)
    figure.save(picture, path)
