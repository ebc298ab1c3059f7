"""
What train.py can be told. Nothing heavy is imported here, so that --help answers at once.
"""

from dataclasses import dataclass
from typing import Literal

from training.old_names import OLD_NAMES


@dataclass(frozen=True)
class TrainConfig:
    """Train or fine-tune a GPT-2 on conversations."""

    old_names = OLD_NAMES

    # what to start from, on what, to where
    init_from: str = (
        "scratch"  # scratch, a GPT-2 folder, a LoRA adapter, or a name of the hub: gpt2; resume: go on with
    )
    # the run in out_dir, with its settings where no others are given
    data_dir: str = "data/chitchat"  # what a prepare.py wrote
    out_dir: str = "out-chat"  # the model folder to write
    overwrite: bool = False  # replace the model that out_dir holds
    keep: int = 0  # keep the last so many evaluations whole, each in a folder checkpoint-STEP of out_dir

    # the batch: whole conversations packed into rows
    batch_size: int | Literal["auto"] = 16  # rows a micro-batch, for each process; auto: as many as memory holds
    gradient_accumulation_steps: int = 1  # micro-batches a step
    block_size: int = 256  # tokens a row; a GPT-2 that is started from keeps its own longer context

    # the model, when it starts from scratch
    n_layer: int = 6
    n_head: int = 6
    n_embd: int = 384
    wpe_init: Literal["random", "sinusoidal"] = "random"  # sinusoidal positions at the start: copying is learned sooner
    dropout: float = 0.0  # 0.1 is sensible when data are few
    gradient_checkpointing: bool = False  # about a third slower, and memory for the activations of one block only

    # what is trained, and on what
    learn: Literal["bot", "last", "all"] = "bot"  # the bot's words; the last of its turns alone; or everybody's words,
    # but for the bot's messages of weight 0: from scratch there is more to learn from
    unlikelihood: float = 0.0  # weight of what the bot should not say: its own runs of four tokens again, others' tags
    dpo_beta: float = 0.0  # above 0, say 0.1: learn from the data's pairs of a better and a worse answer, too, by DPO;
    # the higher, the sooner it is content with what they have gained
    sft_weight: float = 1.0  # of the plain loss beside DPO's, which keeps the voice; 0: pairs alone
    lora_rank: int | None = (
        None  # train matrices of this rank beside the model's own; they are merged when it is saved,
    )
    # and lie apart in out_dir/adapter, as peft has them
    start_share: float = 0.0  # of the weights that are saved, those of the model that the run started from: it learns a
    # little less and forgets far less
    freeze_layers: int = 0  # the embeddings and this many of the lowest blocks stay as they are

    # the optimizer: AdamW, its schedule a linear warm-up, then decay
    muon: bool = False  # Muon for the matrices of the blocks: from scratch far faster a step
    muon_lr: float = 0.02  # its rate, which the schedule moves as the other's
    learning_rate: float = 1e-3  # the highest
    schedule: Literal["cosine", "linear"] = "cosine"  # linear: flat until decay_from of the run, then a line
    decay_from: float = 0.3
    min_lr: float | None = None  # the last; default: a tenth of the highest
    warmup_iters: int | None = None  # default: 50, but at most a twentieth of max_minutes
    max_iters: int = 2000
    epochs: float | None = None  # in place of max_iters: how often the data are passed
    max_minutes: float | None = None  # end by then, evaluation and save included; the schedule adapts
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    grad_clip: float | None = 1.0  # 0 or None disables it

    # what is measured and said
    eval_interval: int = 250  # steps between evaluations on val, each followed by a save
    eval_iters: int = 40  # batches an evaluation at most
    eval_only: bool = False  # evaluate and end
    copy_probe: bool = False  # at each evaluation, how well random tokens are copied from 16 to 256 tokens before
    find_lr: bool = False  # try rates from 1e-6 to 1, draw the loss against them in find_lr.png, and end
    patience: int = 5  # evaluations in a row without a better one that end the run; 0: never
    save_minutes: float = 15.0  # the longest that a crash can cost
    log_interval: int = 10  # steps between lines
    wandb_log: bool = False  # also to Weights & Biases (pip install wandb)
    wandb_project: str = "nanochatgpt"
    profile: str | None = None  # write a Chrome trace of ten steps, from the eleventh on, to this file (trace.json)
    tensorboard_log: bool = False  # also to TensorBoard (pip install tensorboard), in the folder's events files

    # the machine
    shard: bool = False  # under torchrun: each process keeps a part of the model, its gradient and moments (FSDP2)
    device: str = "auto"  # cpu, cuda, cuda:1, mps
    dtype: str = "auto"  # float32, bfloat16, float16: of the matrix products; auto takes bfloat16 where it is faster
    threads: int | None = None  # CPU threads; default: one a core
    compile: bool | None = None  # torch.compile; default: on a GPU
    seed: int = 1337

    def __post_init__(self) -> None:
        minimum: dict[str, float] = {
            **dict.fromkeys(
                ("learning_rate", "warmup_iters", "max_iters", "weight_decay", "beta1", "beta2", "seed", "min_lr"), 0
            ),
            **dict.fromkeys(("keep", "grad_clip", "lora_rank"), 0),
            **dict.fromkeys(("batch_size", "gradient_accumulation_steps", "n_layer", "n_head", "n_embd"), 1),
            **dict.fromkeys(("muon_lr", "freeze_layers", "patience", "decay_from", "unlikelihood", "dropout"), 0),
            **dict.fromkeys(("dpo_beta", "sft_weight", "start_share"), 0),
            **dict.fromkeys(("eval_interval", "eval_iters", "log_interval"), 1),
            "block_size": 8,
        }
        for name, value in minimum.items():
            if getattr(self, name) not in ("auto", None) and getattr(self, name) < value:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least {value}")
        for name in ("dropout", "beta1", "beta2", "decay_from", "start_share"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be below 1")
        for name in ("max_minutes", "epochs"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be above 0, or none")
        if self.save_minutes <= 0:
            raise ValueError(f"save_minutes ({self.save_minutes}) must be above 0")
        for name in ("init_from", "data_dir", "out_dir"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} is empty; it takes a folder")
        if self.min_lr is not None and self.min_lr > self.learning_rate:
            raise ValueError(f"min_lr ({self.min_lr}) must be at most learning_rate ({self.learning_rate})")
        if self.shard and self.copy_probe:
            raise ValueError("copy_probe needs the whole model in each process; leave out shard or copy_probe")
        if self.dpo_beta and (self.shard or self.find_lr):
            raise ValueError("dpo_beta goes with neither shard nor find_lr; leave these out")
        if self.start_share and self.lora_rank:
            raise ValueError("start_share goes without lora_rank: whoever loads an adapter says how much of it counts")
        if self.shard and self.muon:
            raise ValueError("shard goes with AdamW: Muon needs whole matrices (muon = False)")
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd ({self.n_embd}) must be a multiple of n_head ({self.n_head})")
