"""The loss that is computed in chunks, without logits, is the plain one, and so is its gradient."""

import pytest
import torch
from torch.nn import functional as F

from ops import cross_entropy as module
from ops.cross_entropy import ChunkedCrossEntropy, CrossEntropyOnGPU, HeadBuffer, cross_entropy


def test_the_loss_in_pieces_is_cross_entropy(monkeypatch):
    """Value and gradients in float32, over several chunks, with rows that are no tokens."""
    monkeypatch.setattr("ops.cross_entropy.MAX_LOGITS", 1)
    x, w = torch.randn(200, 16, requires_grad=True), torch.randn(64, 16, requires_grad=True)
    targets = torch.randint(60, (200,))
    wanted = F.cross_entropy((x @ w.t())[:, :60], targets)
    grads = torch.autograd.grad(3 * wanted, (x, w))
    found = cross_entropy(x, w, targets, 60)
    torch.testing.assert_close(found, wanted)
    for a, b in zip(torch.autograd.grad(3 * found, (x, w)), grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(cross_entropy(x, w, targets, 60), wanted.detach())


def test_unlikelihood(monkeypatch):
    """-log(1 - p) of every unlikely id is added, with its gradient, as autograd finds it from whole logits."""
    monkeypatch.setattr("ops.cross_entropy.MAX_LOGITS", 1)
    torch.manual_seed(0)
    x, w = torch.randn(200, 16, requires_grad=True), torch.randn(64, 16, requires_grad=True)
    targets = torch.randint(60, (200,))
    numbers = torch.cat([torch.randint(200, (300,)), torch.tensor([199, 199])]).sort().values
    unlikely = torch.stack([numbers, torch.randint(60, (302,))])
    logs = (x @ w.t())[:, :60].log_softmax(1)
    added = -(1 - logs.exp()[unlikely[0], unlikely[1]]).clamp(min=1e-5).log().sum() / 200
    wanted = F.nll_loss(logs, targets) + 0.7 * added
    found = cross_entropy(x, w, targets, 60, unlikelihood_candidates=unlikely, unlikelihood=0.7)
    torch.testing.assert_close(found, wanted)
    both = zip(torch.autograd.grad(found, (x, w)), torch.autograd.grad(wanted, (x, w)), strict=True)
    for a, b in both:
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("where", ["a CPU", "a GPU"])
def test_the_head_learns_in_float16(monkeypatch, where):
    """
    A thousand tokens with the same target, whose gradient by the head is beyond what float16 holds: it is float32's,
    in one piece and in several, and a loss that is scaled by 65,536 changes nothing but its size.
    """
    torch.manual_seed(0)
    x, w = torch.randn(1000, 16) * 20 + 100, torch.randn(64, 16) * 0.01
    targets = torch.full((1000,), 7)
    targets[::9] = torch.randint(60, targets[::9].shape)
    x, w = (p.half().float().requires_grad_() for p in (x, w))
    wanted = torch.autograd.grad(F.cross_entropy((x @ w.t())[:, :60], targets), (x, w))
    assert wanted[1].abs().max() * 1000 > 65504
    for most in (2**22, 64 * 300):
        monkeypatch.setattr(module, "MAX_LOGITS", most)
        monkeypatch.setattr(module, "MAX_LOGITS_ON_GPU", most)
        shared = x, w, targets, 60, torch.float16, True
        loss = (
            CrossEntropyOnGPU.apply(*shared)
            if where == "a GPU"
            else ChunkedCrossEntropy.apply(*shared, HeadBuffer(), None, 0.0)
        )
        for a, b in zip(torch.autograd.grad(2.0**16 * loss, (x, w)), wanted, strict=True):
            torch.testing.assert_close(a / 2**16, b, atol=2e-3 * b.abs().max().item(), rtol=2e-2)


def test_what_is_compiled_is_compiled_once(monkeypatch):
    """Of two runs in one process the second does not compile what the first has compiled."""
    monkeypatch.setattr(module, "loss_and_gradient", module.loss_and_gradient)
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function) or (lambda *arguments: None))
    plain = module.loss_and_gradient
    module.compiled_loss.cache_clear()
    module.compile_for_gpu()
    first = module.loss_and_gradient
    module.compile_for_gpu()
    module.compiled_loss.cache_clear()
    assert compiled == [plain] and module.loss_and_gradient is first is not plain
