"""
What runs/gpu.sh does beside tests and bench.py: the machine told, weights made up, what fits in 16 GB, and the figures
in one file and one table.

    $ python runs/gpu_steps.py environment FILE | weights FOLDER | fit_124m FILE | fit_xl FILE | gather R | table R
"""

import importlib.metadata
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PACKAGES = (
    "torch triton numpy numba transformers tokenizers safetensors tiktoken psutil tqdm matplotlib filelock".split()
)
PACKAGES += "pytest httpx fastapi uvicorn httptools uvloop pydantic platformdirs".split()
LIMIT = 16e9  # bytes of the card that the README speaks of
TOLD = {  # of each figure, what the table says
    "train_tokens_per_s": "tokens/s",
    "supervised_tokens_per_s": "supervised/s",
    "share_of_peak": "of a product's speed",
    "decode_tokens_per_s": "new tokens/s",
    "bandwidth_share": "of the bandwidth's limit",
    "ttft_ms": "ms to the first token",
    "one_tokens_per_s": "tokens/s of one client",
    "many_tokens_per_s": "tokens/s of all",
    "peak_gb": "GB at the peak",
    "told_gb": "GB told",
    "card": "",
}


def environment() -> dict[str, Any]:
    """The card, the driver's word on it, and which packages are there."""
    import torch

    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    missing = [name for name, version in versions.items() if version is None]
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    print(f"{card}, torch {torch.__version__}, CUDA {torch.version.cuda}, Python {platform.python_version()}")
    print(f"missing: {', '.join(missing) or 'nothing'}")
    import numba  # noqa: F401  (it may be there and refuse the numpy beside it)

    return {"card": card, "packages": versions}


def weights(folder: str) -> None:
    """A GPT-2 124M that was never trained, as bench.py takes it."""
    import torch

    from checkpoint import model_folder
    from model import GPT, GPTConfig
    from tokenization import tokenizer as tokenizers

    torch.manual_seed(0)
    tokenizer = tokenizers.load("gpt2")
    model_folder.save(folder, GPT(GPTConfig(vocab_size=tokenizer.n_vocab)), tokenizer, {})


def fit(name: str) -> dict[str, float]:
    """The most memory, in GB, of steps as config/finetune_chat.py or finetune_chat_xl.py has them, within LIMIT."""
    import torch

    from model import GPT, GPTConfig
    from runtime.device import choose_device
    from training import estimate, lora
    from training.optimizer import Optimizer

    device = choose_device("cuda", "bfloat16")
    torch.cuda.set_per_process_memory_fraction(LIMIT / torch.cuda.mem_get_info()[1])
    is_xl = name == "fit_xl"
    shape: dict[str, Any] = {"n_layer": 48, "n_head": 25, "n_embd": 1600} if is_xl else {}
    with torch.device("cuda"):
        model = GPT(GPTConfig(vocab_size=50262, dropout=0.1, **shape), gradient_checkpointing=is_xl).train()
        if is_xl:
            lora.add_lora(model, 16)
    optimizer, rows = Optimizer(model), 1 if is_xl else 8
    told = estimate.check_memory(model, optimizer, rows, 1024, device)
    idx = torch.randint(50257, (1, rows * 1024), device="cuda")
    starts = torch.arange(0, rows * 1024 + 1, 256, dtype=torch.int32, device="cuda")
    positions = torch.arange(256, device="cuda").repeat(4 * rows)[None]
    for _ in range(3):
        start = time.perf_counter()
        with device.autocast():
            loss = model.loss(idx, idx, positions, starts)
        loss.backward()
        optimizer.step(1e-5)
        optimizer.zero_grad()
        torch.cuda.synchronize()
    peak, seconds = torch.cuda.max_memory_reserved() / 1e9, time.perf_counter() - start
    print(f"{rows} rows of 1,024 tokens: {peak:.1f} GB at the peak, {told / 1e9:.1f} GB told, {seconds:.2f} s a step")
    return {"peak_gb": peak, "told_gb": told / 1e9, "step_seconds": seconds}


def gather(folder: str) -> dict[str, dict[str, Any]]:
    """The figures of all steps so far."""
    paths = sorted(Path(folder).glob("*.json"), key=lambda path: path.stat().st_mtime)
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def table(folder: str) -> None:
    """A line for each row."""
    for name, figures in gather(folder).items():
        beside = {"": figures, "nanoGPT's loop": figures.get("reference") or {}, **(figures.get("peers") or {})}
        for label, row in beside.items():
            row = row if isinstance(row, dict) else {"many_tokens_per_s": row}
            cells = [
                f"{value:,.3g} {TOLD[key]}" if isinstance(value, float) and value < 100
                else f"{value:,.0f} {TOLD[key]}" if isinstance(value, int | float) else str(value)
                for key, value in row.items() if key in TOLD and value is not None
            ]  # fmt: skip
            if cells:
                print(f"{name:18} {label:15} {', '.join(cells)}")


def main(what: str, path: str) -> None:
    if what == "weights":
        weights(path)
    elif what == "gather":
        print(json.dumps(gather(path), indent=1))
    elif what == "table":
        table(path)
    else:
        figures = environment() if what == "environment" else fit(what)
        Path(path).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
