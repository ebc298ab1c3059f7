"""
Train or fine-tune a GPT-2 on conversations.

    $ python train.py config/finetune_chat.py                       # GPT-2 124M on PersonaChat
    $ python train.py config/train_chitchat.py --max_minutes=10     # from scratch, no hub needed
    $ python train.py --init_from=resume --out_dir=out-chat         # go on where a run stopped
    $ torchrun --nproc_per_node=4 train.py config/finetune_chat.py  # several GPUs

The out folder gets the best model (a Hugging Face GPT-2 folder), trainer.pt to resume from, metrics.jsonl and loss.png.
"""

import errno
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

import psutil

import configurator
from runtime.omp import spin_less_when_busy
from training.settings import TrainConfig

MAX_SKIPPED = 3  # steps in a row that may go wrong before the run ends


def train(config: TrainConfig, started: float | None = None) -> None:
    """
    Train as the settings say. Raises InputError for what a user can mend. started: when the minutes of a run that is
    bounded by them began to count, in seconds since 1970; default: now.
    """
    spin_less_when_busy()
    # imported here, so that --help and a wrong flag need not wait for torch
    import torch
    from tqdm import tqdm

    from runtime.device import choose_device, seed_everything
    from runtime.profiler import StepProfiler
    from training import announce, lr_finder, parallel, validation
    from training.budget import Budget
    from training.logger import RunLog, Throughput, progress_line
    from training.resume import StopSignal, only_run, resume_command
    from training.run import Run
    from training.schedule import get_lr
    from training.step import Stepper, StepResult

    started = time.time() if started is None else started
    device = choose_device(config.device, config.dtype, config.threads)
    seed_everything(config.seed + device.rank)
    say = say_line if device.rank == 0 else lambda line: None
    run = Run(config, device, say)
    config, progress = run.config, run.progress
    budget = Budget(config, started - progress.elapsed, run.model.num_params())
    announce.announce(run, budget)
    if config.find_lr:
        rates, losses = lr_finder.try_rates(
            run.loss_module, run.optimizer, run.loader, run.batch_size, device, config, say
        )
        if run.is_master:
            lr_finder.report(run.out_dir, rates, losses, say)
        return parallel.leave(device)

    log = RunLog(config, progress.iter_num if run.is_resumed else None, run.is_master)
    stop = StopSignal()
    shows_bar = run.is_master and sys.stderr.isatty()
    bar = tqdm(total=config.max_iters, initial=progress.iter_num, unit="step", disable=not shows_bar)
    if device.type == "cuda":
        run.estimate_loss(1)  # the first batch wakes the card, which the budget should not count
    budget.plan(run.estimate_loss)
    throughput, profiler, val_loss = Throughput(), StepProfiler(config.profile), None
    evaluated = progress.iter_num if run.is_resumed and not config.eval_only else -1  # a state is saved behind its own
    stopped, stopped_early = False, None

    def told(result: StepResult) -> None:
        if result.skipped and progress.skipped == MAX_SKIPPED:
            raise run.failure(f"{result.skipped}, the third step in a row that fails")
        if result.notice:
            say(f"iter {result.iter_num}: {result.notice}")

    stepper = Stepper(run.loss_module, run.optimizer, progress, device, config, told)
    with only_run(run.out_dir, log.is_on, run.found), run.feed, stop, bar, log, profiler:
        while True:
            is_last = parallel.any_rank(budget.is_over(), device) or progress.iter_num >= config.max_iters
            is_due = is_last or config.eval_only or budget.evaluation_is_due(progress.iter_num)
            is_due |= run.replaces_start and progress.iter_num == 0

            # save where a crash before the next save could cost more than save_minutes; an evaluation saves at its end
            is_due = is_due and evaluated != progress.iter_num
            seconds_at_risk = time.time() - run.saved_at + (budget.reserve if is_due else 0)
            is_at_risk = progress.iter_num > 0 and not config.eval_only and seconds_at_risk > 60 * config.save_minutes
            if parallel.any_rank(is_at_risk, device):
                stepper.settle()
                run.save(budget.elapsed())

            # evaluate, and keep the state and the best model
            if is_due:
                stepper.settle()
                evaluation_started = time.time()
                val_loss, evaluated = run.estimate_loss(budget.eval_batches), progress.iter_num
                if not math.isfinite(val_loss):
                    raise run.failure(f"the loss on val is {val_loss}")
                say(f"iter {progress.iter_num}: val {val_loss:.4f}")
                copied = run.copying() if config.copy_probe else {}
                if config.eval_only:
                    break
                log.write(iter=progress.iter_num, val=val_loss, **copied)
                if progress.iter_num == 0 and run.replaces_start:
                    progress.best_val_loss = val_loss  # the model that is there is only replaced by a better one
                elif progress.iter_num > 0 or is_last:  # else the first evaluation only shows where it began
                    run.keep(val_loss, budget.elapsed())
                    log.plot(run.out_dir)
                    smoothed = progress.smoothed
                    if progress.worse == 2 and smoothed is not None and smoothed < 0.8 * val_loss:
                        say(f"val rises while train falls to {smoothed:.2f}: the data are being learned by heart")
                    if not is_last:
                        with parallel.uncompiled(run.model):
                            replies = validation.sample_replies(run.model, run.tokenizer, device)
                        for question, reply in replies:
                            say(f"    {question} -> {reply}")
                seconds = time.time() - evaluation_started
                budget.evaluation_took(seconds, progress.iter_num)
                throughput.pause(seconds)
                if config.patience and progress.worse >= config.patience and not is_last:
                    stopped_early = f"val has not fallen for {progress.worse} evaluations"
                    break
            stopped = not is_last and parallel.any_rank(stop.received, device)
            if is_last or stopped:
                break

            # one step
            torch.manual_seed(config.seed + progress.iter_num * device.world_size + device.rank)  # dropout's
            lr = get_lr(progress.iter_num, budget.elapsed(), budget.reserve, config)
            with profiler.step():
                result = stepper.take(run.feed.take(), lr)
            progress.iter_num += 1
            progress.tokens_seen += result.n_filled
            bar.update()
            throughput.add(result)

            # tell
            if progress.iter_num % config.log_interval == 0:
                stepper.settle()
                speed = throughput.take()
                eta = budget.eta(progress.iter_num, speed["seconds"])
                loss = progress.smoothed or result.loss
                bar.set_postfix_str(f"loss {loss:.3f}, {speed['tokens_per_s']:,.0f} tok/s, {eta} left")
                say(progress_line(progress.iter_num, val_loss, lr, speed, device.memory_mb(), eta))
                log.write(iter=progress.iter_num, lr=lr, tokens=progress.tokens_seen, **speed)

        if stopped_early:
            say(f"iter {progress.iter_num}: {stopped_early}: stopped early, the best model is kept")
        stepper.settle()
        if stopped:
            run.save(budget.elapsed())
            log.plot(run.out_dir)
            say(f"stopped at iter {progress.iter_num}, saved to {run.out_dir}; go on: {resume_command()}")
        elif not config.eval_only:
            say(announce.summary(run))
    if trace := profiler.summary():
        say(trace)
    parallel.leave(device)


def remembered(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the run that is resumed, if one is: training.resume has it, which imports torch."""
    if given.get("init_from") != "resume":
        return {}
    from training import resume

    return resume.remembered(given)


def say_line(line: str) -> None:
    """Print a line above the progress bar, at once; nowhere, if the terminal was closed, which is to save the run."""
    from tqdm import tqdm

    try:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()
    except OSError as error:
        if error.errno != errno.EIO:
            raise


if __name__ == "__main__":
    # the minutes count from the command on: imports take seconds
    configurator.main(lambda config: train(config, started=psutil.Process().create_time()), TrainConfig, remembered)
