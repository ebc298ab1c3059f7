"""
Measure speed on this machine.

    $ python bench.py --what=decode --weights=int8 --prompt_tokens=64 --new_tokens=64     # a GPT-2 124M, random weights
    $ python bench.py --what=decode --init_from=out-chat --batch=8 --peers=hf,ctranslate2,llamacpp,uncached
    $ python bench.py --what=decode --busy=1 --peers=llamacpp # beside a program that keeps a core busy
    $ python bench.py --what=decode --profile=trace.json      # where the time goes, for https://ui.perfetto.dev
    $ python bench.py --what=turns --plot=turns.png           # the first token, as a conversation grows
    $ python bench.py --what=train --n_layer=6 --n_head=6 --n_embd=384 --block_size=256 --batch_size=16
    $ python bench.py --what=quality --minutes=4              # what train.py has learned by then, from scratch
    $ python bench.py --what=serve --clients=32 --slots=32 --bad=10000 --soak_minutes=60 --peers=llamacpp
    $ python bench.py --what=train --device=cuda --n_layer=12 --n_head=12 --n_embd=768 --block_size=1024 --steps=60
    $ python bench.py --what=start                            # chat.py, from the command to its prompt and first letter
    $ python bench.py --what=prepare --json=prepare.json      # a made-up WhatsApp export, parsed, masked, tokenised

train and quality stand beside nanoGPT's own loop. The peers are other programs (runs/requirements-bench.txt) on the
same weights, run in turn with ours.
"""

import contextlib
import dataclasses
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import configurator
from benchmarks.busy import busy
from benchmarks.settings import BenchConfig
from runtime import atomic


def bench(config: BenchConfig) -> None:
    """Take one measurement, print its figures, and write them, the picture and the trace where they are asked for."""
    import torch  # takes seconds, as what imports it does: --help and a wrong flag need not wait

    threads = config.threads or torch.get_num_threads()
    card = f", {torch.cuda.get_device_name()}" if config.device == "cuda" and torch.cuda.is_available() else ""
    load = f", beside {config.busy} busy processes" if config.busy else ""
    machine = f"{processor()}, {threads} threads, {platform.system()}, Python {platform.python_version()}{card}{load}"
    print(f"{machine}, torch {torch.__version__}")
    with busy(config.busy):
        figures = measurement(config.what)(dataclasses.replace(config, threads=threads))
    if config.json:
        content = {**dataclasses.asdict(config), "machine": machine, **figures}
        with atomic.file(config.json) as new:
            new.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {config.json}")
    if config.plot:
        from benchmarks.decode import plot

        plot(config.plot, config, figures)
        print(f"wrote {config.plot}")
    if config.profile:
        print(f"wrote {config.profile}; open it in https://ui.perfetto.dev or chrome://tracing")


def measurement(what: str) -> Callable[[BenchConfig], dict[str, Any]]:
    """The function that takes the measurement called `what`, prints it, and returns its figures for --json."""
    if what in ("decode", "turns"):
        from benchmarks import decode

        return decode.decode_figures if what == "decode" else decode.turns_figures
    if what in ("train", "quality"):
        from benchmarks import training

        return training.speed_figures if what == "train" else training.quality_figures
    if what == "serve":
        from benchmarks.http_load import serve_figures

        return serve_figures
    if what == "start":
        from benchmarks.start import start_figures

        return start_figures
    from benchmarks.prepare import prepare_figures

    return prepare_figures


def processor() -> str:
    """What the machine's processor calls itself, and the widest vector instructions that torch uses on it."""
    import torch

    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()}, {torch.backends.cpu.get_cpu_capability()}"
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    configurator.main(bench, BenchConfig)
