"""The settings of bench.py. Nothing heavy is imported here, so that --help answers at once."""

from dataclasses import dataclass
from typing import Literal

WARMUP_STEPS = 2  # of a training run, not counted: memory is allocated in the first ones
STEPS_A_LINE = 10  # that are timed together on a GPU, which runs ahead of nobody's clock
PEERS = {"decode": ("hf", "ctranslate2", "llamacpp", "uncached"), "serve": ("llamacpp",)}  # by what is measured
MINIMUM_ONE = (
    "prompt_tokens", "new_tokens", "batch", "messages", "runs", "reference_steps", "clients", "slots",
    "n_layer", "n_head", "n_embd", "block_size", "batch_size",
)  # fmt: skip


@dataclass(frozen=True)
class BenchConfig:
    """Measure speed on this machine: seven measurements, --what says which. A setting names those that it is for."""

    # all of them
    what: Literal["decode", "turns", "train", "quality", "serve", "start", "prepare"] = "decode"  # what to measure
    runs: int = 5  # how often; the median counts
    threads: int | None = None  # CPU threads; default: one a core
    busy: int = 0  # processes that keep a core busy each, beside ours and the peers, as other programs do
    device: Literal["cpu", "cuda"] = "cpu"  # decode, train, serve: where; on a GPU in bfloat16 (runs/gpu.sh)
    json: str | None = None  # a file to write the figures to
    plot: str | None = None  # decode, turns: a file to draw them in, FILE.png
    profile: str | None = None  # decode, turns, train: a file for a Chrome trace of one more run of ours, trace.json

    # decode: tokens a second of replies; turns: the first token as a conversation grows; serve: through HTTP
    init_from: str = "random"  # decode, turns, serve: a GPT-2 folder; random: a GPT-2 124M that was never trained
    weights: Literal["full", "bfloat16", "int8", "int4"] = "int8"  # decode, turns, serve, start: how they are kept
    prompt_tokens: int = 64  # decode, serve: of each conversation
    new_tokens: int = 64  # decode, serve: of each reply
    batch: int = 1  # decode: conversations at once
    peers: str = ""  # decode: some of hf, ctranslate2, llamacpp, uncached, commas between; serve: llamacpp

    # train: tokens a second; quality: what is learned by then. Both beside nanoGPT's own loop
    data_dir: str = "data/chitchat"  # train, quality: what a prepare.py wrote
    n_layer: int = 6  # train, quality: the shape of the model, as train.py has it
    n_head: int = 6  # train, quality
    n_embd: int = 384  # train, quality
    block_size: int = 256  # train, quality: tokens of context
    batch_size: int = 16  # train, quality: rows of block_size tokens a step; quality: of nanoGPT's loop alone
    steps: int = 12  # train: of each run; the first two warm up and are not counted (on a GPU the first twenty)
    learn: Literal["bot", "all"] = "bot"  # train: whose words train.py learns; nanoGPT's loop learns all
    reference: Literal["windows", "padded", "none"] = (
        "windows"  # train: nanoGPT's loop, or with a chat a row, or ours alone
    )
    minutes: float = 4.0  # quality: of config/train_chitchat.py, all in all
    reference_steps: int = 420  # quality: steps of nanoGPT's loop

    # serve: many clients at once, bad requests and an hour of mixed load
    clients: int = 32  # serve: how many ask at one moment
    slots: int = 32  # serve: replies that the server generates at once
    bad: int = 0  # serve: how many bad requests to send beside a good chat
    soak_minutes: float = 0.0  # serve: of mixed load, with clients that hang up

    # start: chat.py, from the command to its prompt and to the first letter of a reply, with the model of --init_from
    # (random: the one in the box)

    # prepare: a made-up WhatsApp export, parsed, masked, tokenised
    messages: int = 500_000  # prepare: in the export
    members: int = 20_000  # prepare: files of a Slack export, as a zip, a tar.gz and a folder; 0: none

    def __post_init__(self) -> None:
        for name in MINIMUM_ONE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 1")
        if self.busy < 0:
            raise ValueError(f"busy ({self.busy}) must be at least 0")
        if self.new_tokens < 2:
            raise ValueError(f"new_tokens ({self.new_tokens}) must be at least 2: the first one is prefill")
        if self.steps <= WARMUP_STEPS:
            raise ValueError(f"steps ({self.steps}) must be above {WARMUP_STEPS}, the first of which warm up")
        for name in self.peer_names:
            if name not in PEERS["decode"]:
                raise ValueError(f"peers ({self.peers}): {name} is none of {', '.join(PEERS['decode'])}")
        if set(self.peer_names) - set(PEERS.get(self.what, ())):
            raise ValueError(f"peers ({self.peers}) are for decode; for serve there is llamacpp")
        if self.device == "cuda" and self.what not in ("decode", "train", "serve"):
            raise ValueError(f"device is for decode, train and serve, not for {self.what}")
        if self.device == "cuda" and self.what == "train" and self.steps <= WARMUP_STEPS * STEPS_A_LINE:
            raise ValueError(f"steps ({self.steps}) must be above {WARMUP_STEPS * STEPS_A_LINE} on a GPU")
        if self.plot and self.what not in ("decode", "turns"):
            raise ValueError(f"plot is for decode and turns, not for {self.what}")
        if self.profile and self.what not in ("decode", "turns", "train"):
            raise ValueError(f"profile is for decode, turns and train, not for {self.what}")

    @property
    def peer_names(self) -> list[str]:
        """The names in --peers."""
        return [name.strip() for name in self.peers.split(",") if name.strip()]

    @property
    def n_threads(self) -> int:
        """--threads, which bench.py sets before anything is measured."""
        assert self.threads is not None
        return self.threads
