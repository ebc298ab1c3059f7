"""The optimizer takes torch.optim's steps, and Muon's matrices become orthogonal."""

import pytest
import torch

from training.optimizer import Optimizer, orthogonalize, split_qkv


def test_adamw_is_torchs(tiny):
    """Thirty clipped steps are those of torch.optim.AdamW, which decays matrices and embeddings only."""
    other = type(tiny)(tiny.config)
    other.load_state_dict(tiny.state_dict())
    groups = [[p for p in other.parameters() if (p.dim() >= 2) == decays] for decays in (True, False)]
    theirs = torch.optim.AdamW(
        [{"params": group, "weight_decay": decay} for group, decay in zip(groups, (0.1, 0.0), strict=True)],
        lr=1e-3,
        betas=(0.9, 0.99),
    )
    ours = Optimizer(tiny)
    for seed in range(30):
        idx = torch.randint(300, (2, 20), generator=torch.Generator().manual_seed(seed))
        for model in (tiny, other):
            model.loss(idx[:, :-1], idx[:, 1:]).backward()
        norm = ours.grad_norm()
        assert norm.item() == pytest.approx(torch.nn.utils.clip_grad_norm_(other.parameters(), 0.5).item(), rel=1e-5)
        ours.step(1e-3, scale=(0.5 / (norm + 1e-6)).clamp(max=1.0))
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
        optimizer = Optimizer(model, gradient_dtype=dtype, first_moment_dtype=dtype)
        model.loss(idx[:, :-1], idx[:, 1:]).backward()
        optimizer.step(1e-2, scale=torch.tensor(0.5))
    for (name, p), q in zip(tiny.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p - before[name], q - before[name], atol=3e-4, rtol=0.05, msg=name)


def test_muon_is_torchs(tiny):
    """Five steps of the blocks' matrices are those of torch.optim.Muon, queries, keys and values each for itself."""
    ours = Optimizer(tiny, muon=True, weight_decay=0.1)
    parts = {name: [part.detach().clone() for part in split_qkv(name, p)] for name, p in ours.matrices.items()}
    matrices = [torch.nn.Parameter(part) for name in parts for part in parts[name]]
    theirs = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1, momentum=0.95, nesterov=True)
    for seed in range(5):
        idx = torch.randint(300, (2, 20), generator=torch.Generator().manual_seed(seed))
        tiny.loss(idx[:, :-1], idx[:, 1:]).backward()
        gradients = [part for name, p in ours.matrices.items() for part in split_qkv(name, p.grad)]
        for matrix, gradient in zip(matrices, gradients, strict=True):
            matrix.grad = gradient.clone()
        ours.step(0.0, 0.02)
        theirs.step()
        ours.zero_grad()
    found = [part for name, p in ours.matrices.items() for part in split_qkv(name, p)]
    for matrix, part in zip(matrices, found, strict=True):
        torch.testing.assert_close(part, matrix, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_muon_makes_orthogonal(dtype):
    """The update has the singular vectors of the gradient and singular values near 1, tall and wide."""
    for shape in ((2, 16, 48), (2, 48, 16)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        found = u.transpose(1, 2) @ orthogonalize(matrix, dtype) @ v.transpose(1, 2)
        values = found.diagonal(dim1=1, dim2=2)
        assert values.min() > 0.5 and values.max() < 1.4
        assert (found - torch.diag_embed(values)).abs().max() < 0.1


def test_muon_in_float32_is_the_plain_iteration():
    """A long matrix, met twice, gets what five rounds of float64 give it, small singular values and all."""
    matrix = torch.randn(2, 48, 128, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, -5, 128)
    for x in (matrix, matrix.transpose(1, 2)):
        wanted = orthogonalize(x.double(), torch.float64)
        torch.testing.assert_close(orthogonalize(x, torch.float32).double(), wanted, atol=1e-3, rtol=1e-3)
