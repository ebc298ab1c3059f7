"""
Train or fine-tune a GPT-2 on conversations.

    $ python train.py config/finetune_chat.py                       # GPT-2 124M on PersonaChat
    $ python train.py config/train_chitchat.py --max_minutes=10     # from scratch, no hub needed
    $ python train.py config/finetune_chat.py --init_from=resume    # go on where a run stopped
    $ torchrun --nproc_per_node=4 train.py config/finetune_chat.py  # several GPUs

The out folder gets the best model (a Hugging Face GPT-2 folder), trainer.pt to resume from, metrics.jsonl and loss.png.
"""

import contextlib
import dataclasses
import math
import shlex
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import checkpoint
import configurator
import dataset
import device
import metrics
from configurator import InputError
from model import GPT, GPTConfig


@dataclass(frozen=True)
class TrainConfig:
    """Train or fine-tune a GPT-2 on conversations."""

    # what to start from, on what, to where
    init_from: str = "scratch"  # scratch, resume, gpt2, gpt2-medium, gpt2-large, gpt2-xl, or a GPT-2 folder
    data_dir: str = "data/chitchat"  # what a prepare.py wrote
    out_dir: str = "out-chat"  # the model folder to write
    overwrite: bool = False  # replace the model that out_dir holds

    # the batch: whole conversations packed into rows
    batch_size: int = 16  # rows a micro-batch, for each process
    gradient_accumulation_steps: int = 1  # micro-batches a step
    block_size: int = 256  # tokens a row; a GPT-2 that is started from keeps its own longer context

    # the model, when it starts from scratch
    n_layer: int = 6
    n_head: int = 6
    n_embd: int = 384
    dropout: float = 0.0  # 0.1 is sensible when data are few
    gradient_checkpointing: bool = False  # about a third slower, and memory for the activations of one block only

    # AdamW and its schedule: linear warm-up, then cosine decay
    learning_rate: float = 1e-3  # the highest
    min_lr: float | None = None  # the last; default: a tenth of the highest
    warmup_iters: int = 50
    max_iters: int = 2000
    max_minutes: float | None = None  # end by then, evaluation and save included; the schedule adapts
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    grad_clip: float | None = 1.0  # None disables it

    # what is measured and said
    eval_interval: int = 250  # steps between evaluations on val, each followed by a save
    eval_iters: int = 40  # batches an evaluation at most
    eval_only: bool = False  # evaluate and end
    log_interval: int = 10  # steps between lines
    wandb_log: bool = False  # also to Weights & Biases (pip install wandb)
    wandb_project: str = "nanochatgpt"

    # the machine
    device: str = "auto"  # cpu, cuda, cuda:1, mps
    dtype: str = "auto"  # float32, bfloat16, float16: of the matrix products; auto takes bfloat16 where it is faster
    threads: int | None = None  # CPU threads; default: one a core
    compile: bool | None = None  # torch.compile; default: on a GPU
    seed: int = 1337

    def __post_init__(self):
        least = dict.fromkeys(
            ("learning_rate", "warmup_iters", "max_iters", "weight_decay", "beta1", "beta2", "seed"), 0
        )
        least |= dict.fromkeys(("batch_size", "gradient_accumulation_steps", "n_layer", "n_head", "n_embd"), 1)
        least |= {"block_size": 8, "dropout": 0, "eval_interval": 1, "eval_iters": 1, "log_interval": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least {value}")
        for name in ("dropout", "beta1", "beta2"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be below 1")
        for name in ("max_minutes", "grad_clip"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be above 0, or none")
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd ({self.n_embd}) must be a multiple of n_head ({self.n_head})")


# settings that a resumed run must share with the one it resumes: with another value it would be another run
FIXED = ("data_dir", "batch_size", "gradient_accumulation_steps", "block_size", "n_layer", "n_head", "n_embd", "seed")


def train(config):
    begun = time.time()
    where = device.chosen(config.device, config.dtype, config.threads)
    master = where.rank == 0
    say = say_line if master else lambda line: None
    device.seed_everything(config.seed + where.rank)
    out_dir, resumed = Path(config.out_dir), None
    meta, tokenizer = dataset.open_meta(config.data_dir)
    if config.init_from == "resume":
        resumed = resumable(config, tokenizer)
    elif (
        master
        and not config.overwrite
        and not config.eval_only
        and out_dir.resolve() != Path(config.init_from).resolve()
    ):
        refuse_other_run(out_dir)

    # the model
    if resumed:
        model = GPT(GPTConfig(**{**resumed["model_args"], "dropout": config.dropout}))
        model.load_state_dict(resumed["model"])
    elif config.init_from == "scratch":
        shape = (config.block_size, tokenizer.n_vocab, config.n_layer, config.n_head, config.n_embd)
        model = GPT(GPTConfig(*shape, dropout=config.dropout))
    else:
        model, _, _ = checkpoint.load(config.init_from, tokenizer, dropout=config.dropout)
    model.gradient_checkpointing = config.gradient_checkpointing
    model.train().to(where.name)
    block_size = min(config.block_size, model.config.block_size)
    if block_size < config.block_size:
        say(f"block_size {config.block_size} is lowered to {block_size}, the context of {config.init_from}")

    # the data
    splits = {name: dataset.open_split(config.data_dir, name, tokenizer) for name in ("train", "val")}
    drawn = resumed["rows_drawn"] if resumed else 0
    loader = dataset.Loader(splits["train"], block_size, tokenizer, config.seed, where.rank, where.world_size, drawn)
    if len(splits["val"].starts) < 2:
        say("val is empty: the loss on train stands in for it; prepare with a larger --val_share or more data")
        splits["val"] = splits["train"]
    val_loader = dataset.Loader(splits["val"], block_size, tokenizer, 0, where.rank, where.world_size)

    # the optimizer
    optimizer = model.optimizer(config.weight_decay, config.learning_rate, (config.beta1, config.beta2))
    scaler = torch.amp.GradScaler(where.type, enabled=where.dtype == "float16")
    iter_num, elapsed, best_val_loss, tokens_seen = 0, 0.0, math.inf, 0
    if resumed:
        optimizer.load_state_dict(resumed["optimizer"])
        iter_num, elapsed, tokens_seen = resumed["iter_num"], resumed["elapsed"], resumed["tokens_seen"]
        best_val_loss = resumed["best_val_loss"]
        scaler.load_state_dict(resumed["scaler"])
    stepped = where.compiled(model, config.compile, say)
    if where.world_size > 1:
        ids = [torch.device(where.name).index] if where.type == "cuda" else None
        stepped = torch.nn.parallel.DistributedDataParallel(stepped, device_ids=ids)

    tokens_per_iter = config.batch_size * config.gradient_accumulation_steps * block_size * where.world_size
    n_learned = splits["train"].supervised.sum(dtype=np.int64)
    say(
        f"{millions(model.num_params())} parameters on {where.name} in {where.dtype}, {tokens_per_iter:,} tokens a step"
    )
    say(f"{n_learned:,} supervised tokens in {config.data_dir}")
    log = metrics.Log(config, resumed, master)
    begun -= elapsed

    def estimate_loss(n_batches):
        """Mean loss over the supervised tokens of val's first batches: the same ones each time."""
        model.eval()
        total = torch.zeros(2, dtype=torch.float64)
        for i, batch in enumerate(val_loader.epoch(config.batch_size)):
            if i == n_batches:
                break
            with torch.no_grad(), where.autocast():
                _, loss = model(*where.tensors(*batch.arrays))
            total += torch.tensor([loss.item() * batch.n_supervised, batch.n_supervised], dtype=torch.float64)
        model.train()
        total = where.summed(total)
        return (total[0] / total[1]).item()

    def require_finite(name, loss):
        if not math.isfinite(loss):
            kept = f"the model in {out_dir} is from before" if saved else "nothing was saved yet"
            raise InputError(f"iter {iter_num}: the {name} is {loss}; {kept}; try a lower --learning_rate")

    def save_last():
        state = {
            "model": model.state_dict(),
            "model_args": dataclasses.asdict(model.config),
            "optimizer": optimizer.state_dict(),
            "scaler": scaler.state_dict(),
            "tokenizer": tokenizer.hash,
            "config": dataclasses.asdict(config),
            "iter_num": iter_num,
            "rows_drawn": loader.rows_drawn,
            "tokens_seen": tokens_seen,
            "elapsed": time.time() - begun,
            "best_val_loss": best_val_loss,
        }
        checkpoint.save_trainer(out_dir, state)

    def save_best(val_loss):
        how = {
            "iter_num": iter_num,
            "val_loss": val_loss,
            "tokens_seen": tokens_seen,
            "minutes": round((time.time() - begun) / 60, 2),
            "data": meta["sources"],
            "settings": dataclasses.asdict(config),
        }
        checkpoint.save(out_dir, model, tokenizer, how)

    stop = StopSignal()
    bar = tqdm(total=config.max_iters, initial=iter_num, unit="step", disable=not (master and sys.stderr.isatty()))
    # the seconds that the end of the run will take: at first a guess from one batch, then as measured
    reserve, save_seconds, eval_iters = 0.0, 3e-8 * model.num_params() + 1.0, config.eval_iters
    val_loss, saved, evaluated = None, resumed is not None, -1
    if config.max_minutes is not None and not config.eval_only:
        evaluating = time.time()
        estimate_loss(1)
        seconds = time.time() - evaluating
        eval_iters = max(1, min(eval_iters, int(6 * config.max_minutes / seconds)))  # a tenth of the time at most
        reserve = eval_iters * seconds + save_seconds
    smoothed, since, tokens_then, learned_then = None, time.time(), tokens_seen, [0, 0]
    with stop, bar, log:
        while True:
            over_time = where.agreed(config.max_minutes and time.time() - begun + reserve >= 60 * config.max_minutes)
            last = iter_num >= config.max_iters or over_time
            # a run on a budget has no time to show where it began
            due = iter_num % config.eval_interval == 0 and (iter_num > 0 or config.max_minutes is None)
            if (due or last or config.eval_only) and evaluated != iter_num:
                evaluating = time.time()
                val_loss, evaluated = estimate_loss(eval_iters), iter_num
                require_finite("loss on val", val_loss)
                say(f"iter {iter_num}: val {val_loss:.4f}")
                if config.eval_only:
                    break
                log.write(iter=iter_num, val=val_loss)
                if master and (iter_num > 0 or last):  # the first evaluation only shows where it began
                    if val_loss < best_val_loss:
                        best_val_loss, saved = val_loss, True
                        save_best(val_loss)
                    save_last()
                    log.plot(out_dir)
                reserve = 1.2 * (time.time() - evaluating) + (save_seconds if iter_num == 0 else 0)
                since, tokens_then = time.time(), tokens_seen
            stopped = not last and where.agreed(stop.came)
            if last or stopped:
                break

            # one step: the loss is the mean over the supervised tokens of all micro-batches of all ranks
            torch.manual_seed(config.seed + iter_num * where.world_size + where.rank)  # dropout's: nothing to resume
            lr = get_lr(iter_num, time.time() - begun, reserve, config)
            for group in optimizer.param_groups:
                group["lr"] = lr
            batches = [loader.get_batch(config.batch_size) for _ in range(config.gradient_accumulation_steps)]
            n_supervised = sum(batch.n_supervised for batch in batches)
            n_all = where.summed(torch.tensor(n_supervised, dtype=torch.float64)).item()
            step_loss = 0.0
            for i, batch in enumerate(batches):
                final = i == len(batches) - 1
                no_sync = stepped.no_sync() if where.world_size > 1 and not final else contextlib.nullcontext()
                with no_sync:
                    with where.autocast():
                        _, loss = stepped(*where.tensors(*batch.arrays))
                    share = batch.n_supervised / n_all
                    scaler.scale(loss * share * where.world_size).backward()  # DDP takes the mean over ranks
                step_loss += loss.detach() * share
            if config.grad_clip is not None:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
            step_loss = where.summed(step_loss.double().cpu()).item()
            require_finite("loss", step_loss)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            iter_num += 1
            tokens_seen += int(where.summed(torch.tensor(float(sum(batch.filled for batch in batches)))))

            # what people watch
            smoothed = step_loss if smoothed is None else 0.9 * smoothed + 0.1 * step_loss
            learned_then = [learned_then[0] + n_all, learned_then[1] + tokens_per_iter]
            bar.update()
            if iter_num % config.log_interval == 0:
                seconds = max(time.time() - since, 1e-9) / config.log_interval
                rate = (tokens_seen - tokens_then) / (seconds * config.log_interval)
                left = eta(iter_num, time.time() - begun, seconds, config)
                bar.set_postfix_str(f"loss {smoothed:.3f}, {rate:,.0f} tok/s, {left} left")
                val = f", val {val_loss:.4f}" if val_loss is not None else ""
                share = learned_then[0] / learned_then[1]
                say(
                    f"iter {iter_num}: loss {step_loss:.4f}{val}, lr {lr:.1e}, {seconds * 1000:.0f} ms, "
                    f"{rate:,.0f} tok/s, {share:.0%} of batch supervised, ETA {left}"
                )
                speed = {"tokens_per_s": rate, "supervised_per_s": learned_then[0] / (seconds * config.log_interval)}
                log.write(iter=iter_num, loss=step_loss, lr=lr, tokens=tokens_seen, **speed)
                since, tokens_then, learned_then = time.time(), tokens_seen, [0, 0]

        if master and not config.eval_only and stopped:
            save_last()
            if not saved:
                save_best(None)
            log.plot(out_dir)
            say(f"stopped at iter {iter_num}, saved to {out_dir}; go on: {resume_command(config)}")
        elif master and not config.eval_only:
            best = f", val loss {best_val_loss:.4f}" if math.isfinite(best_val_loss) else ""
            params = millions(model.num_params())
            say(f"wrote {out_dir} ({params} parameters{best}); talk to it: python chat.py --out_dir={out_dir}")
    if where.world_size > 1:
        torch.distributed.destroy_process_group()


def get_lr(iter_num, elapsed, reserve, config):
    """Linear warm-up, then cosine decay to min_lr, over the steps or the minutes, whichever will end first."""
    warmed, progress = (iter_num + 1) / (config.warmup_iters + 1), 0.0
    if config.max_iters > config.warmup_iters:
        progress = (iter_num - config.warmup_iters) / (config.max_iters - config.warmup_iters)
    if config.max_minutes is not None:
        spent = elapsed / max(60 * config.max_minutes - reserve, 1e-9)
        warmed = max(warmed, spent / 0.05)  # never more than a twentieth of the time
        progress = max(progress, spent)
    min_lr = config.learning_rate / 10 if config.min_lr is None else config.min_lr
    decayed = min_lr + 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) * (config.learning_rate - min_lr)
    return min(warmed, 1.0) * decayed


def eta(iter_num, elapsed, seconds, config):
    """How long the run will take from here, for people."""
    left = (config.max_iters - iter_num) * seconds
    if config.max_minutes is not None:
        left = min(left, 60 * config.max_minutes - elapsed)
    return f"{max(left, 0) / 60:.0f} min" if left >= 90 else f"{max(left, 0):.0f} s"


def millions(n):
    return f"{n / 1e6:.1f}M" if n < 1e8 else f"{n / 1e6:.0f}M"


def say_line(line):
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


def refuse_other_run(out_dir):
    """Raise InputError if out_dir holds a model or a run already."""
    for name in ("trainer.pt", "model.safetensors", "ckpt.pt", "pytorch_model.bin"):
        if (out_dir / name).exists():
            raise InputError(
                f"{out_dir} holds a model already ({name}): --init_from=resume goes on with it, "
                f"--out_dir=OTHER keeps it, --overwrite=true replaces it"
            )


def resumable(config, tokenizer):
    """The state to resume from, checked against the settings. Raises InputError that names what differs."""
    state = checkpoint.load_trainer(config.out_dir)
    if state["tokenizer"] != tokenizer.hash:
        raise InputError(
            f"{config.out_dir} was trained with another tokenizer than {config.data_dir} has; prepare that anew"
        )
    now = dataclasses.asdict(config)
    changed = {name: (state["config"].get(name), now[name]) for name in now if state["config"].get(name) != now[name]}
    for name, (then, value) in changed.items():
        if name in FIXED:
            raise InputError(
                f"{config.out_dir} was trained with {name}={then}, not {value}: resume needs --{name}={then}"
            )
    return state


def resume_command(config):
    """The command that resumes this run: as it was given, but for where it starts."""
    words = [word for word in sys.argv[1:] if not word.startswith(("--init_from=", "--overwrite"))]
    return "python train.py " + shlex.join([*words, "--init_from=resume"])


class StopSignal:
    """`came` turns true at Ctrl-C or SIGTERM, so that the step ends and is saved; a second Ctrl-C ends at once."""

    def __init__(self):
        self.came = False

    def __enter__(self):
        self.before = {number: signal.signal(number, self.note) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(self, number, frame):
        if self.came:
            raise KeyboardInterrupt
        self.came = True

    def __exit__(self, *error):
        for number, handler in self.before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    configurator.main(train, TrainConfig)
