"""The model that bench.py measures, and its shape without its weights."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.settings import BenchConfig
from checkpoint import model_folder
from checkpoint.pretrained import gpt_config_from_json
from model import GPT, GPTConfig
from runtime import hub
from runtime.json_file import read_json
from tokenization import tokenizer as tokenizers


@contextlib.contextmanager
def model_to_measure(config: BenchConfig) -> Iterator[tuple[str, str]]:
    """(the model folder to measure, a temporary folder for what is made of it); "random" makes a GPT-2 124M."""
    with tempfile.TemporaryDirectory() as work:
        folder = config.init_from
        if folder == "random":
            torch.manual_seed(0)
            tokenizer = tokenizers.load("gpt2")
            folder = str(Path(work, "gpt2-random"))
            model_folder.save(folder, GPT(GPTConfig(vocab_size=tokenizer.n_vocab)), tokenizer, {})
        yield folder, work


def gpt_config_of(init_from: str) -> GPTConfig:
    """The shape of a model folder, or of a model of the hub, read from its config.json. Raises InputError."""
    folder = hub.local_folder(init_from)
    path = folder / "config.json"
    if path.exists():
        return gpt_config_from_json(read_json(path), folder)
    return model_folder.load(init_from)[0].config  # nanoGPT's ckpt.pt, or an error that says what is missing
