"""
What a run is made of: model, data and optimizer, built anew or as a stopped run left them, and what is saved of them.

    run = Run(config, device, say)
    loss = run.estimate_loss(n_batches)
    run.keep(loss)                           # the best model as a model folder, and trainer.pt to resume from
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from checkpoint import model_folder, trainer_state
from dataset.folder import open_meta, open_split
from dataset.loader import Loader
from model import GPT, GPTConfig
from runtime import atomic
from runtime.device import Device
from runtime.errors import InputError
from training import estimate, kept, lora, parallel, preference, validation
from training.feed import Feed
from training.optimizer import Optimizer
from training.resume import fingerprint, load_resumable, refuse_adapter, refuse_other_run, write_times
from training.settings import TrainConfig
from training.start_share import mean_with_start, start_of
from training.step import LossModule, Progress


class Run:
    """
    Everything that train.py steps, evaluates and saves. Raises InputError for settings that do not fit the data, the
    model or the machine. say: prints a line, on the first rank.
    """

    def __init__(self, config: TrainConfig, device: Device, say: Callable[[str], None]) -> None:
        self.config, self.device, self.say = config, device, say
        self.is_master = device.rank == 0
        self.out_dir = Path(config.out_dir)
        atomic.finish(self.out_dir)  # of a save that was cut short
        self.found = write_times(self.out_dir)
        self.meta, self.tokenizer = open_meta(config.data_dir)
        self.splits = {name: open_split(config.data_dir, name, self.tokenizer) for name in ("train", "val")}
        self.data = fingerprint(self.splits.values())
        state = self.state_to_resume()
        # what a LoRA adapter names as its base, if it can
        self.base: str | None = state.get("base", "scratch") if state else config.init_from
        if config.lora_rank and not state and config.init_from != "scratch":
            self.base = config.init_from if lora.is_adapter_base(config.init_from, self.out_dir) else None
        self.is_resumed = state is not None
        self.is_saved, self.saved_at = self.is_resumed, time.time()
        self.replaces_start = not self.is_resumed and Path(config.init_from).resolve() == self.out_dir.resolve()

        # the model
        self.model = self.build_model(state)
        new_start = start_of(self.model) if config.start_share else {}
        self.start = state.get("start", {}) if state else new_start  # of which start_share is saved
        self.block_size = min(config.block_size, self.model.config.block_size)
        if self.block_size < config.block_size:
            context = f"the context of {config.init_from}"
            say(f"block_size {config.block_size} is lowered to {self.block_size}, {context}")

        # the data
        self.loader = Loader(
            self.splits["train"],
            self.block_size,
            self.tokenizer,
            seed=config.seed,
            rank=device.rank,
            world_size=device.world_size,
            rows_drawn=state["rows_drawn"] if state else 0,
            train_on=config.learn,
            unlikelihood=config.unlikelihood > 0,
        )
        if len(self.splits["val"].starts) < 2:
            say("val is empty: the loss on train stands in for it; prepare with a larger --val_share or more data")
            self.splits["val"] = self.splits["train"]
        self.pairs: dict[str, Loader] = {}
        if config.dpo_beta:
            n_drawn = state["pairs_drawn"] if state else 0
            self.pairs = preference.pair_loaders(config, self.tokenizer, self.block_size, device, say, n_drawn)
        self.val_loader = Loader(
            self.splits["val"],
            self.block_size,
            self.tokenizer,
            seed=0,
            rank=device.rank,
            world_size=device.world_size,
            train_on="last" if config.learn == "last" else "bot",
        )

        parallel.compile_blocks(self.model, device, config.compile, say)
        self.sft_weight = config.sft_weight if self.pairs else 1.0
        loss_module = LossModule(self.model, config.unlikelihood, config.dpo_beta, self.sft_weight)
        self.loss_module = parallel.wrap(loss_module, self.model, device, config.shard)

        # the optimizer; on a CPU a product in bfloat16 has its gradient in bfloat16, which is kept as it is
        is_half = device.type == "cpu" and device.dtype == "bfloat16"
        is_one_batch = config.gradient_accumulation_steps == device.world_size == 1 and not self.pairs
        self.optimizer = Optimizer(
            self.model,
            (config.beta1, config.beta2),
            config.weight_decay,
            config.muon,
            gradient_dtype=torch.bfloat16 if is_half and is_one_batch else torch.float32,
            first_moment_dtype=torch.bfloat16 if is_half else torch.float32,
            # what does not multiply the model in bfloat16 is slow in it
            muon_dtype=torch.bfloat16 if device.dtype == "bfloat16" else torch.float32,
        )
        self.progress = Progress(loss_scale=2.0**16 if device.dtype == "float16" else 1.0)
        if state:
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = Progress(**state["progress"])
        batch_size = state["batch_size"] if state else config.batch_size
        if batch_size == "auto":
            batch_size = estimate.largest_batch(self.model, self.optimizer, self.block_size, device)
            say(f"batch_size is {batch_size}: as many rows as memory holds")
        self.batch_size: int = batch_size
        # what each step has batches of: what is learned as it is, and pairs
        kinds = self.loader if self.sft_weight else None, self.pairs.get("train")
        self.loaders = [loader for loader in kinds if loader]
        if config.epochs is not None:
            self.config = dataclasses.replace(config, max_iters=self.steps_of(config.epochs))
        self.feed = Feed(self.loaders, self.batch_size, config.gradient_accumulation_steps, device)
        rows = max(batch_size, 2) if self.pairs else batch_size  # a pair may have two rows of block_size
        self.n_bytes = estimate.check_memory(self.model, self.optimizer, rows, self.block_size, device)
        preference.add_reference(
            self.pairs, self.model, batch_size, device, state.get("reference", {}) if state else None
        )

    def steps_of(self, epochs: float) -> int:
        """The steps that pass the data so often."""
        n_rows = self.loaders[0].group * sum(1 for _ in self.loaders[0].epoch_rows(0))
        rows_per_iter = self.batch_size * self.config.gradient_accumulation_steps * self.device.world_size
        return max(1, math.ceil(round(epochs * n_rows / rows_per_iter, 6)))

    def state_to_resume(self) -> dict | None:
        """What trainer.pt holds, where the run resumes one; else None, once it is sure that nothing is overwritten."""
        config = self.config
        if config.init_from == "resume":
            return load_resumable(config, self.tokenizer, self.data, self.device.world_size, self.say)
        writes = self.is_master and not config.eval_only and not config.find_lr
        if writes:
            refuse_adapter(self.out_dir)
        if writes and not config.overwrite and self.out_dir.resolve() != Path(config.init_from).resolve():
            refuse_other_run(self.out_dir)
        return None

    def build_model(self, state: dict | None) -> GPT:
        """The model to train, on the device: new, from a folder or the hub, or as it was when the run stopped."""
        config = self.config
        if state:
            model = GPT(GPTConfig(**{**state["model_args"], "dropout": config.dropout}))
        elif config.init_from == "scratch":
            shape = {name: getattr(config, name) for name in ("block_size", "n_layer", "n_head", "n_embd", "dropout")}
            estimate.check_shape(GPTConfig(vocab_size=self.tokenizer.n_vocab, **shape), self.device)
            model = GPT(GPTConfig(vocab_size=self.tokenizer.n_vocab, **shape))
            if config.wpe_init == "sinusoidal":
                model.start_positions_as_waves()
        else:
            model, _, _ = model_folder.load(config.init_from, self.tokenizer, dropout=config.dropout)
        if config.lora_rank:
            lora.add_lora(model, config.lora_rank)
        if config.freeze_layers:
            lora.freeze_lowest(model, config.freeze_layers)
        if not any(p.requires_grad for p in model.parameters()):
            raise InputError(
                f"nothing is left to train: freeze_layers={config.freeze_layers} with lora_rank={config.lora_rank} in "
                f"a model of {model.config.n_layer} layers; freeze fewer"
            )
        if state:
            model.load_state_dict(state["model"])
        model.gradient_checkpointing = config.gradient_checkpointing
        return model.train().to(self.device.name)

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """
        Measures are taken in here: where one fails, the state is saved first. Of several processes the others would not
        know, so there it is not.
        """
        is_done = False
        try:
            with parallel.uncompiled(self.model):
                yield
            is_done = True
        finally:
            if not is_done and self.progress.iter_num > 0 and self.device.world_size == 1:
                self.save_last(self.progress.elapsed)

    def estimate_loss(self, n_batches: int) -> float:
        """The mean loss on val, over at most so many batches."""
        with self.measuring():
            batches = self.val_loader.epoch(self.batch_size)
            val_loss = validation.mean_loss(LossModule(self.model), batches, n_batches, self.device)
            if self.pairs:
                loss, share = preference.measured(
                    self.pairs["val"], self.model, self.batch_size, n_batches, self.config.dpo_beta, self.device
                )
                self.say(f"    {share:.0%} of the pairs are preferred as they should be, loss {loss:.4f}")
                val_loss = self.sft_weight * val_loss + loss
        return val_loss

    def copying(self) -> dict[str, float]:
        """For metrics.jsonl, and said: how random tokens are copied, as validation.copy_accuracy has it."""
        text = np.array(self.splits["val"].ids[: 2**18])
        with self.measuring():
            copied = validation.copy_accuracy(self.model, text, self.tokenizer, self.device)
        figures = (f"{probe.share:.0%} ({probe.gain:+.1f}) at {distance}" for distance, probe in copied.items())
        self.say(f"    copied (nats gained): {', '.join(figures)}")
        shares = {f"copy_{distance}": probe.share for distance, probe in copied.items()}
        return shares | {f"copy_gain_{distance}": probe.gain for distance, probe in copied.items()}

    def failure(self, reason: str) -> InputError:
        """The error that ends a run which cannot go on."""
        kept = f"the model in {self.out_dir} is from before" if self.is_saved else "nothing was saved yet"
        return InputError(f"iter {self.progress.iter_num}: {reason}; {kept}; try a lower --learning_rate")

    def keep(self, val_loss: float, elapsed: float) -> None:
        """Save the state behind an evaluation, and the model if it is the best so far. elapsed: seconds of the run."""
        progress = self.progress
        is_better = val_loss < progress.best_val_loss
        progress.worse = 0 if is_better else progress.worse + 1
        progress.best_val_loss = min(progress.best_val_loss, val_loss)
        if is_better:
            self.save_model(self.out_dir, val_loss, elapsed)
        self.save_last(elapsed)
        if self.config.keep:
            folder = kept.checkpoint_folder(self.out_dir, progress.iter_num)
            self.save_model(folder, val_loss, elapsed)
            if self.is_master:
                kept.add_state(folder, self.out_dir / "trainer.pt")
                kept.remove_old(self.out_dir, progress.iter_num, self.config.keep, Path(self.base or self.out_dir))

    def save(self, elapsed: float) -> None:
        """Write trainer.pt, and the model as well while no evaluation has kept one: the folder is never without."""
        self.save_last(elapsed)
        if not math.isfinite(self.progress.best_val_loss):
            self.save_model(self.out_dir, None, elapsed)

    def save_last(self, elapsed: float) -> None:
        """Write trainer.pt. All ranks call it together."""
        groups = [loader.group for loader in self.loaders]
        drawn = dict(zip(groups, self.feed.rows_drawn, strict=True))
        state = {
            "model": parallel.unsharded(self.model).state_dict(),
            "model_args": dataclasses.asdict(self.model.config),
            "optimizer": self.optimizer.state_dict(),
            "tokenizer": self.tokenizer.hash,
            "config": dataclasses.asdict(self.config),
            "base": self.base,
            "start": self.start,
            "data": self.data,
            "world_size": self.device.world_size,
            "batch_size": self.batch_size,
            "rows_drawn": drawn.get(1, 0),
            "pairs_drawn": drawn.get(2, 0),
            "reference": preference.saved_reference(self.pairs),
            "progress": dataclasses.asdict(dataclasses.replace(self.progress, elapsed=elapsed)),
        }
        if self.is_master:
            trainer_state.save(self.out_dir, state)
        self.is_saved, self.saved_at = True, time.time()

    def save_model(self, folder: Path, val_loss: float | None, elapsed: float) -> None:
        """
        Write the model folder. All ranks call it together. val_loss: None if the run was stopped before it was known.
        """
        chat = {
            "iter_num": self.progress.iter_num,
            "val_loss": val_loss,
            "tokens_seen": self.progress.tokens_seen,
            "minutes": round(elapsed / 60, 2),
            "data": self.meta["sources"],
            "settings": dataclasses.asdict(self.config),
        }
        model = parallel.unsharded(self.model)
        if self.is_master:
            parameters = lora.merged_parameters(model)
            if self.start:
                parameters = mean_with_start(parameters, self.start, self.config.start_share)
            model_folder.save(folder, model, self.tokenizer, chat, parameters)
            if self.config.lora_rank and self.base and self.base != "scratch":
                lora.save_adapter(folder / "adapter", model, self.base)
