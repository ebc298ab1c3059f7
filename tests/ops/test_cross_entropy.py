"""The loss that is computed in chunks, without logits, is the plain one, and so is its gradient."""

import torch
from torch.nn import functional as F

from ops.cross_entropy import cross_entropy


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
