"""
How a model is opened and how its tokens are drawn: the settings shared by all scripts that generate. Nothing heavy is
imported here, so that --help answers at once.
"""

import functools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np


class SettingError(ValueError):
    """A setting's value is out of its range. name: the setting."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is drawn; sampling.py has the order of the steps. Raises ValueError for impossible values."""

    temperature: float = 0.8  # 0 always takes the likeliest token
    top_k: int | None = None  # keep the k likeliest tokens
    top_p: float = 0.9  # keep the likeliest tokens that make up this share (Holtzman 2019); 1.0 keeps all
    min_p: float = (
        0.0  # keep tokens with at least this share of the likeliest one's probability (Nguyen 2024); 0.0: all
    )
    typical_p: float = 1.0  # keep the tokens nearest to the expected surprise that make up this share (Meister 2022)
    repetition_penalty: float = 1.1  # logits of the bot's own recent tokens are divided by it (Keskar 2019); 1.0: none
    frequency_penalty: float = 0.0  # subtracted from a token's logit for each time it is recent (OpenAI)
    presence_penalty: float = 0.0  # subtracted from a recent token's logit once (OpenAI)
    dry_multiplier: float = 0.0  # DRY: subtracted from a token that would continue a repeat of recent ones; 0: none
    dry_base: float = 1.75  # DRY: times this for each token by which the repeat exceeds dry_allowed_length
    dry_allowed_length: int = 2  # DRY: the longest repeat, in tokens, that costs only dry_multiplier
    no_repeat_ngram: int = 0  # no run of this many recent tokens is repeated; 0: no such rule
    penalty_window: int = 64  # how many of the bot's last tokens count as recent
    logit_bias: dict[int, float] = field(default_factory=dict)  # added to a token's logit: --logit_bias=ID:BIAS
    max_new_tokens: int = 200
    min_new_tokens: int = 0  # the model does not end its reply before
    stop: tuple[str, ...] = ()  # text that ends a reply and is not shown; once for each: --stop=bye --stop="see you"
    stop_ids: tuple[int, ...] = ()  # tokens that end a reply and are not shown, by their ids: --stop_ids=198
    logprobs: int | None = None  # report each token's log-probability, and those of this many likeliest tokens
    seed: int | None = None  # the same seed gives the same text

    def __post_init__(self) -> None:
        in_range = {
            "temperature": self.temperature == 0 or 1e-6 <= self.temperature < math.inf,  # float32 holds the quotients
            "top_k": self.top_k is None or self.top_k >= 1,
            "top_p": 0 < self.top_p <= 1,
            "min_p": 0 <= self.min_p <= 1,
            "typical_p": 0 < self.typical_p <= 1,
            "repetition_penalty": 1e-3 <= self.repetition_penalty < math.inf,  # below it float32 may overflow
            "frequency_penalty": math.isfinite(self.frequency_penalty),
            "presence_penalty": math.isfinite(self.presence_penalty),
            "dry_multiplier": 0 <= self.dry_multiplier < math.inf,
            "dry_base": 1 <= self.dry_base < math.inf,
            "dry_allowed_length": self.dry_allowed_length >= 1,
            "no_repeat_ngram": self.no_repeat_ngram >= 0,
            "penalty_window": self.penalty_window >= 0,
            "max_new_tokens": self.max_new_tokens >= 1,
            "min_new_tokens": self.min_new_tokens >= 0,
            "logit_bias": all(id >= 0 and math.isfinite(bias) for id, bias in self.logit_bias.items()),
            "stop": all(self.stop),
            "stop_ids": all(id >= 0 for id in self.stop_ids),
            "logprobs": self.logprobs is None or 0 <= self.logprobs <= 20,
            "seed": self.seed is None or 0 <= self.seed < 2**62,
        }
        for name, fine in in_range.items():
            if not fine:
                raise SettingError(name, f"{name} ({getattr(self, name)!r}) is out of its range")

    @property
    def changes_logits(self) -> bool:
        """Whether any step before the temperature changes a logit: a bias, a penalty, or no_repeat_ngram."""
        penalties = (self.frequency_penalty, self.presence_penalty, self.dry_multiplier, self.no_repeat_ngram)
        return bool(self.logit_bias or self.repetition_penalty != 1.0 or any(penalties))

    @functools.cached_property
    def bias_arrays(self) -> "tuple[np.ndarray, np.ndarray]":
        """The ids and the biases of logit_bias, int64 and float32: made once, and not for each token."""
        import numpy as np

        return np.array(list(self.logit_bias), np.int64), np.array(list(self.logit_bias.values()), np.float32)


@dataclass(frozen=True)
class EngineConfig(SamplingParams):
    """Where the model is and how it speaks: shared by every script that generates."""

    out_dir: str = "out-chat"  # the model folder that train.py wrote
    init_from: str | None = None  # in its place: any GPT-2 folder, or gpt2, gpt2-medium, gpt2-large, gpt2-xl
    device: str = "auto"  # cpu, cuda, cuda:1, mps
    dtype: str = "auto"  # of the computation: float32, bfloat16, float16
    weights: Literal["auto", "full", "bfloat16", "int8", "int4"] = "auto"  # how a CPU stores them; auto: int8
    threads: int | None = None  # CPU threads; default: one a core
