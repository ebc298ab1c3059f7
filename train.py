"""
Train or fine-tune a GPT-2 on conversations.

    $ python train.py config/finetune_chat.py                       # GPT-2 124M on PersonaChat
    $ python train.py config/train_chitchat.py --max_minutes=10     # from scratch, no hub needed
    $ python train.py config/finetune_chat.py --init_from=resume    # go on where a run stopped
    $ torchrun --nproc_per_node=4 train.py config/finetune_chat.py  # several GPUs

The out folder gets the best model (a Hugging Face GPT-2 folder), trainer.pt to resume from, metrics.jsonl and loss.png.
"""

import dataclasses
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import torch
from tqdm import tqdm

import configurator
from checkpoint import model_folder, trainer_state
from dataset.folder import open_meta, open_split
from dataset.loader import Loader
from model import GPT, GPTConfig
from runtime.device import choose_device, seed_everything
from runtime.errors import InputError
from runtime.humanize import millions
from training import estimate, logger, lora, lr_finder, parallel, step, validation
from training.budget import eta
from training.optimizer import Optimizer
from training.resume import StopSignal, refuse_other_run, resumable, resume_command
from training.schedule import get_lr
from training.step import Progress


@dataclass(frozen=True)
class TrainConfig:
    """Train or fine-tune a GPT-2 on conversations."""

    # what to start from, on what, to where
    init_from: str = "scratch"  # scratch, resume, gpt2, gpt2-medium, gpt2-large, gpt2-xl, or a GPT-2 folder
    data_dir: str = "data/chitchat"  # what a prepare.py wrote
    out_dir: str = "out-chat"  # the model folder to write
    overwrite: bool = False  # replace the model that out_dir holds

    # the batch: whole conversations packed into rows
    batch_size: int | Literal["auto"] = 16  # rows a micro-batch, for each process; auto: as many as memory holds
    gradient_accumulation_steps: int = 1  # micro-batches a step
    block_size: int = 256  # tokens a row; a GPT-2 that is started from keeps its own longer context

    # the model, when it starts from scratch
    n_layer: int = 6
    n_head: int = 6
    n_embd: int = 384
    dropout: float = 0.0  # 0.1 is sensible when data are few
    gradient_checkpointing: bool = False  # about a third slower, and memory for the activations of one block only

    # what is trained, and on what
    learn: Literal["bot", "all"] = "bot"  # the bot's words, or everybody's: from scratch there is more to learn from
    unlikelihood: float = 0.0  # weight of what the bot should not say: its own runs of four tokens again, others' tags
    lora_rank: int | None = None  # train matrices of this rank beside the model's own, merged when it is saved
    freeze_layers: int = 0  # the embeddings and this many of the lowest blocks stay as they are

    # the optimizer: AdamW, its schedule a linear warm-up, then decay
    muon: bool = False  # Muon for the matrices of the blocks: from scratch far faster a step
    muon_lr: float = 0.02  # its rate, which the schedule moves as the other's
    learning_rate: float = 1e-3  # the highest
    schedule: Literal["cosine", "linear"] = "cosine"  # linear: flat until decay_from of the run, then a line
    decay_from: float = 0.3
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
    find_lr: bool = False  # try rates from 1e-6 to 1, draw the loss against them in find_lr.png, and end
    patience: int = 5  # evaluations in a row without a better one that end the run; 0: never
    save_minutes: float = 15.0  # the longest that a crash can cost
    log_interval: int = 10  # steps between lines
    wandb_log: bool = False  # also to Weights & Biases (pip install wandb)
    wandb_project: str = "nanochatgpt"
    tensorboard_log: bool = False  # also to TensorBoard (pip install tensorboard), in the folder's events files

    # the machine
    shard: bool = False  # under torchrun: each process keeps a part of the model, its gradient and moments (FSDP2)
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
        least |= dict.fromkeys(("muon_lr", "freeze_layers", "patience", "decay_from", "unlikelihood"), 0)
        least |= {"block_size": 8, "dropout": 0, "eval_interval": 1, "eval_iters": 1, "log_interval": 1}
        for name, value in least.items():
            if getattr(self, name) != "auto" and getattr(self, name) < value:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least {value}")
        for name in ("dropout", "beta1", "beta2", "decay_from"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be below 1")
        for name in ("max_minutes", "grad_clip", "save_minutes", "lora_rank"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must be above 0, or none")
        if self.shard and self.muon:
            raise ValueError("shard goes with AdamW: Muon needs whole matrices (muon = False)")
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd ({self.n_embd}) must be a multiple of n_head ({self.n_head})")


SKIPPED = 3  # steps in a row that may go wrong before the run ends
EPOCHS = 10  # passes over the data that are warned of


def train(config):
    begun = time.time()
    if Path(sys.argv[0]).name == Path(__file__).name:  # the minutes count from the command on: imports are seconds
        begun = psutil.Process().create_time()
    where = choose_device(config.device, config.dtype, config.threads)
    master = where.rank == 0
    say = say_line if master else lambda line: None
    seed_everything(config.seed + where.rank)
    out_dir, resumed = Path(config.out_dir), None
    meta, tokenizer = open_meta(config.data_dir)
    if config.init_from == "resume":
        resumed = resumable(config, tokenizer, say)
    elif (
        master
        and not config.overwrite
        and not config.eval_only
        and not config.find_lr
        and out_dir.resolve() != Path(config.init_from).resolve()
    ):
        refuse_other_run(out_dir)

    # the model
    if resumed:
        model = GPT(GPTConfig(**{**resumed["model_args"], "dropout": config.dropout}))
    elif config.init_from == "scratch":
        shape = (config.block_size, tokenizer.n_vocab, config.n_layer, config.n_head, config.n_embd)
        model = GPT(GPTConfig(*shape, dropout=config.dropout))
    else:
        model, _, _ = model_folder.load(config.init_from, tokenizer, dropout=config.dropout)
    if config.lora_rank:
        lora.add_lora(model, config.lora_rank)
    if config.freeze_layers:
        lora.freeze_lowest(model, config.freeze_layers)
    if resumed:
        model.load_state_dict(resumed["model"])
    model.gradient_checkpointing, model.unlikelihood = config.gradient_checkpointing, config.unlikelihood
    model.train().to(where.name)
    block_size = min(config.block_size, model.config.block_size)
    if block_size < config.block_size:
        say(f"block_size {config.block_size} is lowered to {block_size}, the context of {config.init_from}")

    # the data
    splits = {name: open_split(config.data_dir, name, tokenizer) for name in ("train", "val")}
    drawn = resumed["rows_drawn"] if resumed else 0
    ranks = where.rank, where.world_size
    how = *ranks, drawn, config.learn, config.unlikelihood > 0
    loader = Loader(splits["train"], block_size, tokenizer, config.seed, *how)
    if len(splits["val"].starts) < 2:
        say("val is empty: the loss on train stands in for it; prepare with a larger --val_share or more data")
        splits["val"] = splits["train"]
    val_loader = Loader(splits["val"], block_size, tokenizer, 0, *ranks)

    stepped = parallel.wrap(model, parallel.compile_blocks(model, where, config.compile, say), where, config.shard)

    # the optimizer; on a CPU a product in bfloat16 has its gradient in bfloat16, which is kept as it is
    half = where.type == "cpu" and where.dtype == "bfloat16"
    alone = config.gradient_accumulation_steps == where.world_size == 1
    optimizer = Optimizer(
        model,
        (config.beta1, config.beta2),
        config.weight_decay,
        config.muon,
        gradients=torch.bfloat16 if half and alone else torch.float32,
        first_moment=torch.bfloat16 if half else torch.float32,
    )
    now = Progress(loss_scale=2.0**16 if where.dtype == "float16" else 1.0)
    if resumed:
        optimizer.load_state_dict(resumed["optimizer"])
        now = Progress(**resumed["progress"])
    batch_size = resumed["batch_size"] if resumed else config.batch_size
    if batch_size == "auto":
        batch_size = estimate.largest_batch(model, optimizer, block_size, where)
        say(f"batch_size is {batch_size}: as many rows as memory holds")
    needed = estimate.check_memory(model, optimizer, batch_size, block_size, where)

    tokens_per_iter = batch_size * config.gradient_accumulation_steps * block_size * where.world_size
    n_tokens, n_learned = (len(splits["train"].ids), int(splits["train"].supervised.sum(dtype=np.int64)))
    step_seconds = estimate.step_seconds(model, tokens_per_iter / where.world_size, n_learned / n_tokens, where)
    left = eta(now.iter_num, now.elapsed, step_seconds, config)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    some = f", {millions(trained)} of them trained" if trained < 0.99 * model.num_params() else ""
    say(
        f"{millions(model.num_params())} parameters{some} on {where.name} in {where.dtype}, {tokens_per_iter:,} tokens "
        f"a step, about {needed / 1e9:.1f} GB, about {left} for {config.max_iters - now.iter_num:,} steps at most"
    )
    say(f"{n_learned:,} supervised tokens in {config.data_dir}")
    if config.find_lr:
        tried = lr_finder.try_rates(stepped, optimizer, loader, batch_size, where, config, say)
        if master:
            lr_finder.report(out_dir, *tried, say)
        return parallel.leave(where)
    epochs = config.max_iters * tokens_per_iter / n_tokens
    if epochs > EPOCHS and config.max_minutes is None:
        say(f"the data are passed {epochs:.0f} times and may be learned by heart: fewer --max_iters, or more data")
    log = logger.RunLog(config, resumed, master)
    begun -= now.elapsed

    def estimate_loss(n_batches):
        return validation.mean_loss(model, val_loader.epoch(batch_size), n_batches, where)

    def spoiled(what):
        kept = f"the model in {out_dir} is from before" if saved else "nothing was saved yet"
        return InputError(f"iter {now.iter_num}: {what}; {kept}; try a lower --learning_rate")

    def save_last():
        state = {
            "model": parallel.unsharded(model).state_dict(),
            "model_args": dataclasses.asdict(model.config),
            "optimizer": optimizer.state_dict(),
            "tokenizer": tokenizer.hash,
            "config": dataclasses.asdict(config),
            "batch_size": batch_size,
            "rows_drawn": loader.rows_drawn,
            "progress": dataclasses.asdict(dataclasses.replace(now, elapsed=time.time() - begun)),
        }
        if master:
            trainer_state.save(out_dir, state)

    def save_best(val_loss):
        how = {
            "iter_num": now.iter_num,
            "val_loss": val_loss,
            "tokens_seen": now.tokens_seen,
            "minutes": round((time.time() - begun) / 60, 2),
            "data": meta["sources"],
            "settings": dataclasses.asdict(config),
        }
        whole = parallel.unsharded(model)
        if master:
            model_folder.save(out_dir, whole, tokenizer, how, lora.merged_parameters(whole))

    stop = StopSignal()
    bar = tqdm(total=config.max_iters, initial=now.iter_num, unit="step", disable=not (master and sys.stderr.isatty()))
    # the seconds that the end of the run will take: at first a guess from one batch, then as measured
    reserve, save_seconds, eval_iters = 0.0, 3e-8 * model.num_params() + 1.0, config.eval_iters
    val_loss, saved = None, resumed is not None
    evaluated = now.iter_num if resumed and not config.eval_only else -1  # a state is saved behind its evaluation
    if config.max_minutes is not None and not config.eval_only:
        evaluating = time.time()
        estimate_loss(1)
        seconds = time.time() - evaluating
        eval_iters = max(1, min(eval_iters, int(6 * config.max_minutes / seconds)))  # a tenth of the time at most
        reserve = eval_iters * seconds + save_seconds
    live, saved_at, why = logger.Throughput(), time.time(), None
    with stop, bar, log:
        while True:
            over_time = parallel.any_rank(
                config.max_minutes and time.time() - begun + reserve >= 60 * config.max_minutes, where
            )
            last = now.iter_num >= config.max_iters or over_time
            # a run on a budget has no time to show where it began
            due = now.iter_num % config.eval_interval == 0 and (now.iter_num > 0 or config.max_minutes is None)
            if (due or last or config.eval_only) and evaluated != now.iter_num:
                evaluating = time.time()
                val_loss, evaluated = estimate_loss(eval_iters), now.iter_num
                if not math.isfinite(val_loss):
                    raise spoiled(f"the loss on val is {val_loss}")
                say(f"iter {now.iter_num}: val {val_loss:.4f}")
                if config.eval_only:
                    break
                log.write(iter=now.iter_num, val=val_loss)
                if now.iter_num > 0 or last:  # the first evaluation only shows where it began
                    better = val_loss < now.best_val_loss
                    now.worse = 0 if better else now.worse + 1
                    now.best_val_loss = min(now.best_val_loss, val_loss)
                    if better:
                        save_best(val_loss)
                    save_last()
                    log.plot(out_dir)
                    saved, saved_at = True, time.time()
                    if now.worse == 2 and now.smoothed < 0.8 * val_loss:
                        say(f"val rises while train falls to {now.smoothed:.2f}: the data are being learned by heart")
                    if not last:
                        for question, answer in validation.sample_replies(model, tokenizer, where):
                            say(f"    {question} -> {answer}")
                reserve = 1.2 * (time.time() - evaluating) + (save_seconds if now.iter_num == 0 else 0)
                live.pause(time.time() - evaluating)
                if config.patience and now.worse >= config.patience and not last:
                    why = f"val has not fallen for {now.worse} evaluations: stopped early, the best model is kept"
                    break
            elif saved and parallel.any_rank(time.time() - saved_at > 60 * config.save_minutes, where):
                save_last()
                saved_at = time.time()
            stopped = not last and parallel.any_rank(stop.came, where)
            if last or stopped:
                break

            # one step: the loss is the mean over the learned tokens of all micro-batches of all ranks
            torch.manual_seed(config.seed + now.iter_num * where.world_size + where.rank)  # dropout
            lr = get_lr(now.iter_num, time.time() - begun, reserve, config)
            batches = [loader.get_batch(batch_size) for _ in range(config.gradient_accumulation_steps)]
            found = step.accumulate_gradients(stepped, batches, where, now.loss_scale)
            norm = optimizer.grad_norm().item() / now.loss_scale
            wrong = step.reason_to_skip(found, norm, now, where)
            if not wrong and math.isfinite(norm):
                step.apply_update(optimizer, norm, lr, config, now.loss_scale)
                now.good, now.skipped = now.good + 1, 0
                now.smoothed = found.loss if now.smoothed is None else 0.9 * now.smoothed + 0.1 * found.loss
                if where.dtype == "float16" and now.good % 2000 == 0:
                    now.loss_scale *= 2
            elif not wrong:
                now.loss_scale /= 2  # float16's way to find its scale
            else:
                now.skipped += 1
                if now.skipped == SKIPPED:
                    raise spoiled(f"{wrong}, the third step in a row that fails")
                say(f"iter {now.iter_num}: {wrong}; the step is skipped")
            optimizer.zero_grad()
            now.iter_num += 1
            now.tokens_seen += found.n_filled
            bar.update()
            live.add(found)
            if now.iter_num % config.log_interval == 0:
                row = live.row()
                left = eta(now.iter_num, time.time() - begun, row["seconds"], config)
                bar.set_postfix_str(
                    f"loss {now.smoothed or found.loss:.3f}, {row['tokens_per_s']:,.0f} tok/s, {left} left"
                )
                say(logger.progress_line(now.iter_num, val_loss, lr, row, where.memory_mb(), left))
                log.write(iter=now.iter_num, lr=lr, tokens=now.tokens_seen, **row)

        if why:
            say(f"iter {now.iter_num}: {why}")
        if not config.eval_only and stopped:
            save_last()
            if not math.isfinite(now.best_val_loss):
                save_best(None)
            log.plot(out_dir)
            say(f"stopped at iter {now.iter_num}, saved to {out_dir}; go on: {resume_command()}")
        elif not config.eval_only:
            best = f", val loss {now.best_val_loss:.4f}" if math.isfinite(now.best_val_loss) else ""
            params = millions(model.num_params())
            say(f"wrote {out_dir} ({params} parameters{best}); talk to it: python chat.py --out_dir={out_dir}")
    parallel.leave(where)


def say_line(line):
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


if __name__ == "__main__":
    configurator.main(train, TrainConfig)
