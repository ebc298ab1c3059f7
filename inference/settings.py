"""
How a model is opened and how its tokens are drawn: the settings shared by all scripts that generate. Nothing heavy is
imported here, so that --help answers at once.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runtime.errors import InputError
from runtime.hub import is_hub_name

if TYPE_CHECKING:
    import numpy as np


LONGEST_RUN = 100  # tokens of a repeat that DRY counts: it forbids far shorter ones already
LARGEST = 1e20  # of what a logit is changed by: float32 holds its quotient by the lowest temperature, and sums of it


class SettingError(ValueError):
    """A setting's value is out of its range. name: the setting."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is drawn; sampling.py has the order of the steps. Raises ValueError for impossible values."""

    temperature: float = 0.8  # 0 always takes the likeliest token
    top_k: int | None = None  # keep the k likeliest tokens; 0 or None: all
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
    dry_allowed_length: int = 2  # DRY: the longest repeat, in tokens, that costs only dry_multiplier; below 100
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
        biases_fit = all(id >= 0 and abs(bias) <= LARGEST for id, bias in self.logit_bias.items())
        in_range = {
            "temperature": (self.temperature == 0 or 1e-6 <= self.temperature <= LARGEST, "0, or 0.000001 to 1e20"),
            "top_k": (self.top_k is None or self.top_k >= 0, "at least 0, which keeps all"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1, which keeps all"),
            "min_p": (0 <= self.min_p <= 1, "from 0, which keeps all, to 1"),
            "typical_p": (0 < self.typical_p <= 1, "above 0 and at most 1, which keeps all"),
            "repetition_penalty": (1e-3 <= self.repetition_penalty <= LARGEST, "0.001 to 1e20; 1 is none"),
            "frequency_penalty": (abs(self.frequency_penalty) <= LARGEST, "-1e20 to 1e20"),
            "presence_penalty": (abs(self.presence_penalty) <= LARGEST, "-1e20 to 1e20"),
            "dry_multiplier": (0 <= self.dry_multiplier <= LARGEST, "0, which is none, to 1e20"),
            "dry_base": (1 <= self.dry_base <= 10, "1 to 10"),
            "dry_allowed_length": (1 <= self.dry_allowed_length < LONGEST_RUN, f"1 to {LONGEST_RUN - 1}"),
            "no_repeat_ngram": (self.no_repeat_ngram >= 0, "at least 0, which is none"),
            "penalty_window": (self.penalty_window >= 0, "at least 0"),
            "max_new_tokens": (self.max_new_tokens >= 1, "at least 1"),
            "min_new_tokens": (self.min_new_tokens >= 0, "at least 0"),
            "logit_bias": (biases_fit, "of ids from 0 on, -1e20 to 1e20"),
            "stop": (all(self.stop), "text that is not empty"),
            "stop_ids": (all(id >= 0 for id in self.stop_ids), "ids from 0 on"),
            "logprobs": (self.logprobs is None or 0 <= self.logprobs <= 20, "from 0 to 20"),
            "seed": (self.seed is None or 0 <= self.seed < 2**62, "from 0 to 2**62 - 1"),
        }
        for name, (fine, limits) in in_range.items():
            if not fine:
                raise SettingError(name, f"{name} ({getattr(self, name)!r}) is out of its range: {limits}")

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


TRAINED = "out-chat"  # where config/finetune_chat.py writes its model
BOX = Path(__file__).parents[1] / "models" / "small-talk"  # the model that comes with the project


@dataclass(frozen=True)
class EngineConfig(SamplingParams):
    """Where the model is and how it speaks: shared by every script that generates."""

    old_names = {  # as configurator.py has them: nanoGPT's and transformers'
        "compile": "is not needed: on a CPU there are kernels, on a GPU it is not used",
        **dict.fromkeys(("max_length", "max_tokens", "length", "num_tokens"), "max_new_tokens"),
        **dict.fromkeys(("temp", "t"), "temperature"),
        **dict.fromkeys(("model", "model_name_or_path", "model_path", "ckpt", "checkpoint"), "init_from"),
        **dict.fromkeys(("num_return_sequences", "nsamples", "n_samples"), "num_samples"),
        "no_repeat_ngram_size": "no_repeat_ngram",
        "do_sample": "is temperature here: 0 takes the likeliest token",
        **dict.fromkeys(("stop_words", "stop_sequences"), "stop"),
        **dict.fromkeys(("eos_token_id", "stop_token_ids"), "stop_ids"),
        **dict.fromkeys(("system_prompt", "persona"), "system"),
        **dict.fromkeys(("load_in_8bit", "load_in_4bit", "quantize", "quantization"), "weights"),
        **dict.fromkeys(("num_threads", "n_threads"), "threads"),
    }

    out_dir: str = TRAINED  # the model folder that train.py wrote; while there is none, models/small-talk
    init_from: str | None = None  # in its place: any GPT-2 folder, a LoRA adapter, or a name of the hub
    device: str = "auto"  # cpu, cuda, cuda:1, mps
    dtype: str = "auto"  # of the computation: float32, bfloat16, float16
    weights: Literal["auto", "full", "bfloat16", "int8", "int4"] = "auto"  # how a CPU stores them; auto: int8
    threads: int | None = None  # CPU threads; default: one a core

    @property
    def folder(self) -> str:
        """Where the model is: what was named, else what was trained, else the model in the box."""
        named = self.init_from or self.out_dir
        return str(BOX) if named == TRAINED and not Path(named).exists() and BOX.exists() else named


@dataclass(frozen=True)
class TalkConfig(EngineConfig):
    """Of a command that holds whole conversations, where the bot should not say again what it said long ago."""

    dry_multiplier: float = 1.6  # DRY: subtracted from a token that would continue a repeat of recent ones; 0: none
    dry_base: float = 2.0  # DRY: times this for each token by which the repeat exceeds dry_allowed_length
    penalty_window: int = 512  # how many of the bot's last tokens count as recent


def check_exists(folder: str) -> None:
    """Raise InputError, which says what to do, if the folder of the model is not there."""
    if Path(folder).exists() or is_hub_name(folder):
        return
    others = sorted(path.parent.name for path in Path().glob("*/model.safetensors"))
    if others:
        raise InputError(f"{folder} has no model, but there is one in {others[0]}: --out_dir={others[0]}")
    raise InputError(
        f"{folder} has no model; bash runs/scratch.sh makes one in ten minutes, --init_from=gpt2 takes a raw GPT-2"
    )
