"""Training on a GPU: what is read late changes nothing, resuming is exact, and memory is what was told."""

import dataclasses

import pytest
import torch
from test_train import assert_same_weights, rows, state

from checkpoint import trainer_state
from model import GPT, GPTConfig
from runtime.device import choose_device
from train import train
from training import estimate, parallel
from training.optimizer import Optimizer
from training.step import LossModule, Progress, Stepper

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")]
ON_GPU = dict(device="cuda", dtype="bfloat16", compile=False)


def test_resume_is_bit_identical(settings, tmp_path):
    """Stopped at step 3 and resumed to 6, the weights, moments and losses are those of six steps in one go."""
    train(settings(out_dir=str(tmp_path / "whole"), muon=True, dropout=0.1, **ON_GPU))
    half = settings(out_dir=str(tmp_path / "half"), muon=True, dropout=0.1, **ON_GPU)

    def stop_at_3(folder, content, save=trainer_state.save):
        save(folder, content)
        if content["progress"]["iter_num"] == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer_state, "save", stop_at_3)
        train(half)
    train(dataclasses.replace(half, init_from="resume"))
    whole, resumed = state(tmp_path / "whole"), state(tmp_path / "half")
    assert_same_weights(whole, resumed)
    for kind in ("m", "v", "moving"):
        a, b = whole["optimizer"][kind], resumed["optimizer"][kind]
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    kept = ("iter", "loss", "val", "lr", "tokens")
    lines = [[{k: row[k] for k in kept if k in row} for row in rows(tmp_path / name)] for name in ("whole", "half")]
    assert lines[0] == lines[1]


def test_float16_finds_its_scale(settings, tmp_path):
    """The loss's scale is halved until no gradient overflows; then steps are taken, and the loss falls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.run.Progress", lambda **more: Progress(**{**more, "loss_scale": 2.0**40}))
        train(settings(max_iters=60, eval_interval=60, log_interval=1, **{**ON_GPU, "dtype": "float16"}))
    losses = [row["loss"] for row in rows(tmp_path / "out") if "loss" in row]
    progress = state(tmp_path / "out")["progress"]
    assert progress["loss_scale"] < 2.0**40 and 10 < progress["good"] < 60
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("how", ["DDP", "FSDP2"])
def test_one_process_over_nccl(how, tmp_path):
    """The gradients through DDP and FSDP2, in a group of one process over NCCL, are those without."""
    device = choose_device("cuda", "float32")
    torch.distributed.init_process_group(
        "nccl", store=torch.distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    try:
        losses, gradients = [], []
        for wrapped in (False, True):
            torch.manual_seed(0)
            model = GPT(GPTConfig(block_size=64, vocab_size=300, n_layer=2, n_head=2, n_embd=64)).cuda()
            module = LossModule(model)
            if wrapped and how == "DDP":
                model.transformer.wte.sparse = False
                module = torch.nn.parallel.DistributedDataParallel(module, device_ids=[0])
            elif wrapped:
                parallel.shard_model(model, "cuda")
            idx = torch.randint(300, (1, 64), device="cuda", generator=torch.Generator("cuda").manual_seed(1))
            starts = torch.tensor([0, 40, 64], dtype=torch.int32, device="cuda")
            with device.autocast():
                loss = module(idx=idx, targets=idx, positions=torch.arange(64, device="cuda")[None], cu_seqlens=starts)
            loss.backward()
            losses.append(loss.item())
            whole = parallel.gather_to_cpu({name: p.grad for name, p in model.named_parameters()})
            gradients.append({name: gradient.cpu() for name, gradient in whole.items()})
        assert losses[0] == pytest.approx(losses[1], rel=1e-6)
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4, msg=name)
    finally:
        torch.distributed.destroy_process_group()


def test_the_memory_that_is_told_is_the_memory_that_is_taken():
    """Told before the first step, within a third of the peak."""
    device = choose_device("cuda", "bfloat16")
    model = GPT(GPTConfig(block_size=512, vocab_size=8192, n_layer=8, n_head=6, n_embd=384)).train().cuda()
    optimizer, n = Optimizer(model, muon=True), 32 * 512
    idx = torch.randint(8192, (1, n), device="cuda")
    starts = torch.arange(0, n + 1, 512, dtype=torch.int32, device="cuda")
    positions = torch.arange(512, device="cuda").repeat(n // 512)[None]
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        with device.autocast():
            loss = model.loss(idx, idx, positions, starts)
        loss.backward()
        optimizer.step(1e-4, 0.01)
    told, taken = estimate.memory_bytes(model, optimizer, n, device), torch.cuda.max_memory_allocated()
    print(f"told {told / 1e9:.2f} GB, taken {taken / 1e9:.2f} GB")
    assert 0.75 < told / taken < 1.5


def test_a_limit_of_memory_is_kept_to():
    """What may be used is what set_per_process_memory_fraction leaves."""
    device = choose_device("cuda", "bfloat16")
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(4e9 / total)
    try:
        assert device.free_bytes() <= 4.01e9
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert device.free_bytes() > 4.01e9 or total < 5e9


def test_steps_need_no_wait():
    """A step is launched without waiting for the card, but where the last step's loss is read."""
    device = choose_device("cuda", "bfloat16")
    from training.settings import TrainConfig

    model = GPT(GPTConfig(block_size=64, vocab_size=300, n_layer=2, n_head=2, n_embd=64)).train().cuda()
    results = []
    stepper = Stepper(
        LossModule(model), Optimizer(model, muon=True), Progress(), device, TrainConfig(muon=True), results.append
    )
    batch = waiting_batch()
    batch.tensors = device.tensors(batch.arrays)
    stepper.take([batch], 1e-3)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            stepper.take([batch], 1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    stepper.settle()
    assert len(results) == 4 and all(result.loss > 0 for result in results)


def waiting_batch():
    """A Batch of two conversations."""
    import numpy as np

    from dataset.loader import Batch

    ids = np.arange(65)[None] % 300
    positions = np.concatenate([np.arange(40), np.arange(24)])[None]
    return Batch(ids[:, :-1], ids[:, 1:].copy(), positions, np.array([0, 40, 64], np.int32), 64)
