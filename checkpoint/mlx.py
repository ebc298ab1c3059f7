"""The folder that Apple's mlx_lm reads, and what it makes of it. Writing one needs no Mac, and no package."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from checkpoint import model_folder
from checkpoint.pretrained import TRANSPOSED_WEIGHTS
from runtime import atomic
from runtime.errors import InputError
from runtime.json_file import read_json_if_there
from tokenization.chat_template import template_for

FILES = ("generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "vocab.json")
FILES += ("merges.txt", "special_tokens_map.json", "added_tokens.json")


def write_mlx(folder: str | Path, into: Path, weights: str) -> Path:
    """
    Write the model in `folder` into the folder into/mlx-WEIGHTS, which comes back: a Hugging Face folder whose tensors
    have the names of OpenAI's GPT-2, without "transformer.", the only ones that mlx_lm knows. weights: torch's dtype.
    Raises InputError for a model that mlx_lm would compute otherwise.
    """
    model, tokenizer, chat = model_folder.load(folder)
    if not model.config.is_plain:
        raise InputError(
            f"{folder}: mlx_lm's GPT-2 has gelu_new and an n_inner of 4 * n_embd, this model {model.config.activation} "
            f"and {model.config.n_inner}"
        )
    speech, path = model_folder.speech_folder(folder), into / f"mlx-{weights}"
    config, n_vocab = model.config, template_for(speech, tokenizer, chat).n_vocab
    state = {}
    for name, p in model.state_dict().items():
        p = p[:n_vocab] if name == "transformer.wte.weight" else p
        p = p.t() if name.endswith(TRANSPOSED_WEIGHTS) else p
        state[name.removeprefix("transformer.")] = p.to(getattr(torch, weights)).contiguous()
    content = read_json_if_there(speech / "config.json") | {
        "model_type": "gpt2",
        "n_ctx": config.block_size,
        "n_positions": config.block_size,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "layer_norm_epsilon": 1e-5,
        "vocab_size": n_vocab,
        "torch_dtype": weights,
    }
    with atomic.folder(path) as new:
        save_file(state, new / "model.safetensors", metadata={"format": "pt"})
        (new / "config.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        for name in FILES:
            if (speech / name).exists():
                shutil.copyfile(speech / name, new / name)
    return path


class Mlx:
    """A folder that mlx_lm has opened, on whatever device MLX takes by itself."""

    def __init__(self, path: Path, threads: int) -> None:
        import mlx.core  # pyright: ignore[reportMissingImports] -- optional
        import mlx_lm  # pyright: ignore[reportMissingImports]
        from mlx_lm.models import cache  # pyright: ignore[reportMissingImports]

        self.mx, self.cache = mlx.core, cache
        self.model, self.tokenizer, *_ = mlx_lm.load(str(path))
        device = str(self.mx.default_device())
        self.label = f"mlx_lm {mlx_lm.__version__}, {path.name.removeprefix('mlx-')}, {device}"

    def logits(self, ids: list[int]) -> np.ndarray:
        """As checkpoint/exported.py has it."""
        return self.as_numpy(self.model(self.mx.array([ids]))[0])

    def greedy(self, ids: list[int], n: int) -> list[int]:
        """As checkpoint/exported.py has it; a reply ends at what mlx_lm takes for the tokenizer's ends."""
        cache = self.cache.make_prompt_cache(self.model)
        reply: list[int] = []
        new = ids
        while len(reply) < n:
            logits = self.model(self.mx.array([new]), cache=cache)[0, -1]
            token = int(self.as_numpy(logits).argmax())
            if token in self.tokenizer.eos_token_ids:
                break
            reply.append(token)
            new = [token]
        return reply

    def as_numpy(self, values: Any) -> np.ndarray:
        """float32, which numpy has where it lacks bfloat16."""
        return np.array(values.astype(self.mx.float32))
