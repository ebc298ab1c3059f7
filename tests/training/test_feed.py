"""What a GPU's run does in its own way, forced on a CPU: batches made ahead by a thread, results read a step late."""

import numpy as np
import pytest
import torch
from test_train import assert_same_weights, state

from dataset.folder import open_meta, open_split
from dataset.loader import Loader
from model import GPT, GPTConfig
from ops import cross_entropy as loss
from runtime.device import Device
from train import train
from training import estimate, feed, step
from training.feed import Feed
from training.optimizer import Optimizer

CPU = Device("cpu", "cpu", "float32")


def test_batches_made_ahead_are_the_same(data_dir):
    """Whether a thread makes them ahead or not; rows_drawn counts those that were taken."""
    _, tokenizer = open_meta(data_dir)
    split = open_split(data_dir, "train", tokenizer)
    loaders = [Loader(split, 64, tokenizer) for _ in range(2)]
    with Feed(loaders[:1], 3, 2, CPU, ahead=0) as one, Feed(loaders[1:], 3, 2, CPU, ahead=5) as other:
        for _ in range(20):
            for a, b in zip(one.take(), other.take(), strict=True):
                assert np.array_equal(a.idx, b.idx) and torch.equal(torch.from_numpy(a.targets), b.tensors["targets"])
            other.waiting[-1].result()
            assert one.rows_drawn == other.rows_drawn == [loaders[0].rows_drawn] < [loaders[1].rows_drawn]


def test_a_batch_that_cannot_be_made_is_an_error(data_dir, monkeypatch):
    """What fails in the thread fails in the run."""
    _, tokenizer = open_meta(data_dir)
    monkeypatch.setattr(Loader, "get_batch", lambda self, n: 1 / 0)
    loader = Loader(open_split(data_dir, "train", tokenizer), 64, tokenizer)
    with Feed([loader], 3, 1, CPU, ahead=2) as fed, pytest.raises(ZeroDivisionError):
        fed.take()


@pytest.mark.parametrize("more", [{}, {"learning_rate": 1e20, "muon_lr": 1e20, "grad_clip": None}], ids=["good", "bad"])
def test_read_late_is_the_same_run(settings, tmp_path, monkeypatch, capsys, more):
    """A run whose results are read one step late, as on a GPU, takes the same steps to the bit and says the same."""
    said = []
    for name in ("at once", "late"):
        if name == "late":
            init = step.Stepper.__init__

            def late(self, *given, init=init):
                init(self, *given)
                self.is_late = True

            monkeypatch.setattr(step.Stepper, "__init__", late)
            monkeypatch.setattr(feed, "STEPS_AHEAD", 3)
        how = dict(muon=True, dropout=0.1, max_iters=9, out_dir=str(tmp_path / name), log_interval=4, **more)
        try:
            train(settings(**how))
        except Exception as error:  # the run that fails, fails in the same words
            said.append(str(error).replace(name, "").replace("iter 5", "iter 4"))
        else:
            said.append("ended well")
    assert said[0] == said[1] and (said[0] == "ended well") != bool(more)
    if not more:
        a, b = state(tmp_path / "at once"), state(tmp_path / "late")
        assert_same_weights(a, b)
        assert a["progress"] | {"elapsed": 0} == b["progress"] | {"elapsed": 0}


def test_a_step_that_is_no_number_changes_nothing(tiny):
    """Where is_good is false: no weight, no moment and no momentum; else the step is the one without is_good."""
    idx = torch.randint(300, (2, 20), generator=torch.Generator().manual_seed(0))
    other = GPT(tiny.config)
    other.load_state_dict(tiny.state_dict())
    ours, theirs = Optimizer(tiny, muon=True), Optimizer(other, muon=True)
    for model in (tiny, other):
        model.loss(idx[:, :-1], idx[:, 1:]).backward()
    ours.step(1e-2, 1e-2, torch.tensor(0.5), torch.tensor(True))
    theirs.step(1e-2, 1e-2, torch.tensor(0.5))
    for (name, p), q in zip(tiny.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, msg=name)
    before = {name: p.detach().clone() for name, p in tiny.named_parameters()}
    moments = [t.clone() for t in (*ours.m.values(), *ours.v.values(), *ours.momentum_buffer.values())]
    for gradient in ours.gradients():
        gradient.fill_(torch.nan)
    ours.step(1e-2, 1e-2, torch.tensor(torch.nan), torch.tensor(False))
    assert all(torch.equal(p, before[name]) for name, p in tiny.named_parameters())
    after = (*ours.m.values(), *ours.v.values(), *ours.momentum_buffer.values())
    assert all(torch.equal(a, b) for a, b in zip(moments, after, strict=True))


def test_the_loss_of_a_gpu(monkeypatch):
    """In pieces, of which the last is smaller: the value and gradients of the CPU's."""
    monkeypatch.setattr(loss, "MAX_LOGITS_ON_GPU", 64 * 128)
    x, w = torch.randn(333, 16, requires_grad=True), torch.randn(64, 16, requires_grad=True)
    targets = torch.randint(60, (333,))
    wanted = loss.cross_entropy(x, w, targets, 60)
    found = loss.CrossEntropyOnGPU.apply(x, w, targets, 60, torch.float32, True)
    torch.testing.assert_close(found, wanted)
    pairs = zip(torch.autograd.grad(3 * found, (x, w)), torch.autograd.grad(3 * wanted, (x, w)), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_a_card_of_little_memory(tiny, monkeypatch):
    """On a card that holds 16 GB, GPT-2 124M fits with 8 rows of 1,024 tokens and 124M in 4 GB asks for fewer."""
    card, model = Device("cuda", "cuda:0", "bfloat16"), GPT(GPTConfig())
    optimizer = Optimizer(model)
    monkeypatch.setattr(Device, "free_bytes", lambda self: 16e9)
    assert 4e9 < estimate.check_memory(model, optimizer, 8, 1024, card) < 14e9
    monkeypatch.setattr(Device, "free_bytes", lambda self: 4e9)
    with pytest.raises(estimate.InputError, match="on cuda:0, 4.0 GB are free: try --batch_size=auto"):
        estimate.check_memory(model, optimizer, 8, 1024, card)
