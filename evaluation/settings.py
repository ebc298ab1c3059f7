"""The settings of evaluate.py. Nothing heavy is imported here, so that --help answers at once."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from inference.settings import TRAINED, SamplingParams, TalkConfig

MAX_NEW_TOKENS = 200  # of every reply; a report with another limit could not stand beside the others
TURNS = 20  # of a self-chat: far beyond what the fine-tunes of 2023 kept up
GROUPS = ("fit", "stops", "itself", "repetition", "memory", "safety", "speed", "sense")


@dataclass(frozen=True)
class EvaluateConfig(TalkConfig):
    """Measure a chat model, or a server's, on real conversations."""

    init_from: str = TRAINED  # any GPT-2 folder, ours or Hugging Face's, or a name of the hub
    data: str | None = None  # whose val split is asked; default: what the model was trained on, or data/personachat
    baseline: str | None = None  # a second model to stand beside it; its report.json is used if it measured the same
    quick: bool = False  # a tenth of the questions
    n: int | None = None  # questions of each kind; default: 200, with --quick 20
    groups: tuple[str, ...] = ()  # these groups of figures alone, once for each: --groups=sense; default: all
    memory: bool = False  # memory and self-chats also with notes of what has left the context, in a column of its own
    turns: int = TURNS  # of the bot in each chat with itself; above 20 with a row of its own
    samples: int = 0  # transcripts to add, drawn by the seed
    fail_under: str | None = None  # a file of lines `name, limit`: exit status 1 if the model falls short of one
    seed: int = 1  # draws the questions; the same seed and folder give the same report
    out_dir: str | None = None  # where the report goes; default: the model's folder
    endpoint: str | None = None  # an OpenAI-compatible server in place of a folder: http://127.0.0.1:8080/v1
    endpoint_model: str | None = None  # which of its models; default: the first
    weights: Literal["full", "bfloat16", "int8", "int4"] = "full"  # how a CPU keeps them: what fewer bits cost

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_new_tokens != MAX_NEW_TOKENS:
            raise ValueError(f"max_new_tokens ({self.max_new_tokens}) is {MAX_NEW_TOKENS} in every report")
        if self.n is not None and self.n < 2:
            raise ValueError(f"n ({self.n}) must be at least 2")
        if self.turns < 2:
            raise ValueError(f"turns ({self.turns}) must be at least 2")
        for name in self.groups:
            if name not in GROUPS:
                raise ValueError(f"groups: there is no {name}; there are {', '.join(GROUPS)}")
        if self.samples < 0:
            raise ValueError(f"samples ({self.samples}) must be at least 0")
        if self.endpoint and not self.out_dir:
            raise ValueError("--endpoint has no folder for the report; say --out_dir=FOLDER")

    @property
    def sampling(self) -> SamplingParams:
        """How the sampled replies are drawn: the settings that belong to SamplingParams alone."""
        return SamplingParams(**{field.name: getattr(self, field.name) for field in dataclasses.fields(SamplingParams)})

    @property
    def n_questions(self) -> int:
        """Questions of each kind."""
        return self.n or (20 if self.quick else 200)
