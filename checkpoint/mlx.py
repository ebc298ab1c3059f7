"""The folder that Apple's mlx_lm reads, and what it makes of it. Writing one needs no Mac, and no package."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from checkpoint import model_folder, plain_folder
from runtime.errors import InputError


def write_mlx(folder: str | Path, into: Path, weights: str) -> Path:
    """
    Write the model in `folder` into the folder into/mlx-WEIGHTS, which comes back: a Hugging Face folder whose tensors
    have the names of OpenAI's GPT-2, without "transformer.", the only ones that mlx_lm knows. weights: torch's dtype.
    Raises InputError for a model that mlx_lm would compute otherwise.
    """
    loaded = model_folder.load(folder)
    config, path = loaded.model.config, into / f"mlx-{weights}"
    if not config.is_plain:
        raise InputError(
            f"{folder}: mlx_lm's GPT-2 has gelu_new and an n_inner of 4 * n_embd, this model {config.activation} and "
            f"{config.n_inner}"
        )
    plain_folder.write_plain(path, folder, loaded, getattr(torch, weights), prefix="")
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
