"""
The optimizer takes torch.optim's steps, and its loss and attention in pieces are the plain ones.
"""

import itertools

import pytest
import torch
from torch.nn import functional as F

from ops import attention
from ops.cross_entropy import cross_entropy
from training.optimizer import Optimizer, orthogonalize


def test_adamw_is_torchs(tiny):
    """Three clipped steps are those of torch.optim.AdamW, which decays matrices and embeddings only."""
    other = type(tiny)(tiny.config)
    other.load_state_dict(tiny.state_dict())
    groups = [[p for p in other.parameters() if (p.dim() >= 2) == decays] for decays in (True, False)]
    theirs = torch.optim.AdamW(
        [{"params": group, "weight_decay": decay} for group, decay in zip(groups, (0.1, 0.0), strict=True)],
        lr=1e-2,
        betas=(0.9, 0.99),
    )
    ours = Optimizer(tiny)
    for seed in range(3):
        idx = torch.randint(300, (2, 20), generator=torch.Generator().manual_seed(seed))
        for model in (tiny, other):
            model(idx[:, :-1], idx[:, 1:])[1].backward()
        norm = ours.grad_norm().item()
        assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(other.parameters(), 0.5).item(), rel=1e-5)
        ours.step(1e-2, scale=min(1.0, 0.5 / (norm + 1e-6)))
        theirs.step()
        ours.zero_grad()
        theirs.zero_grad()
    for (name, p), q in zip(tiny.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=2e-5, rtol=1e-4, msg=name)


def test_gradients_in_bfloat16_take_nearly_the_same_step(tiny):
    """bfloat16 gradients and first moments move every weight as float32 ones do, to a few percent of the step."""
    other = type(tiny)(tiny.config)
    other.load_state_dict(tiny.state_dict())
    before = {name: p.detach().clone() for name, p in tiny.named_parameters()}
    idx = torch.randint(300, (2, 20))
    for model, dtype in ((tiny, torch.bfloat16), (other, torch.float32)):
        optimizer = Optimizer(model, gradients=dtype, first_moment=dtype)
        model(idx[:, :-1], idx[:, 1:])[1].backward()
        optimizer.step(1e-2, scale=0.5)
    for (name, p), q in zip(tiny.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p - before[name], q - before[name], atol=3e-4, rtol=0.05, msg=name)


def test_muon_makes_orthogonal():
    """The update has the singular vectors of the gradient and singular values near 1, tall and wide."""
    for shape in ((2, 16, 48), (2, 48, 16)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        found = u.transpose(1, 2) @ orthogonalize(matrix) @ v.transpose(1, 2)
        values = found.diagonal(dim1=1, dim2=2)
        assert values.min() > 0.5 and values.max() < 1.4
        assert (found - torch.diag_embed(values)).abs().max() < 0.1


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
    found = cross_entropy(x, w, targets, 60, unlikely=unlikely, strength=0.7)
    torch.testing.assert_close(found, wanted)
    both = zip(torch.autograd.grad(found, (x, w)), torch.autograd.grad(wanted, (x, w)), strict=True)
    for a, b in both:
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_attention_in_pieces(monkeypatch):
    """The CPU's bfloat16 attention and its gradient are those of each conversation alone, to bfloat16's rounding."""
    starts, qkv = [0, 5, 300, 333], torch.randn(333, 3 * 32)
    half = qkv.bfloat16().requires_grad_()
    full = half.detach().float().requires_grad_()
    wanted = torch.cat([attention.single_attention(full[a:b], 4) for a, b in itertools.pairwise(starts)])
    found = attention.packed_attention(half, 4, starts)
    weights = torch.randn(333, 32)
    (wanted * weights).sum().backward()
    (found.float() * weights).sum().backward()
    torch.testing.assert_close(found.float(), wanted, atol=0.03, rtol=0.03)
    torch.testing.assert_close(half.grad.float(), full.grad, atol=0.06, rtol=0.06)
