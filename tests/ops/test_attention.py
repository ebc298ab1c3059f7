"""Attention within the conversations of a packed row is that of each conversation alone."""

import itertools

import torch

from ops import attention


def test_attention_in_pieces(monkeypatch):
    """The CPU's bfloat16 attention and its gradient are those of each conversation alone, to bfloat16's rounding."""
    starts, qkv = [0, 5, 300, 333], torch.randn(333, 3 * 32)
    half = qkv.bfloat16().requires_grad_()
    full = half.detach().float().requires_grad_()
    wanted = torch.cat([attention.single_attention(full[a:b], 4) for a, b in itertools.pairwise(starts)])
    layout = attention.packed_layout(torch.tensor(starts, dtype=torch.int32), half, 8, 333)
    assert layout.kernel == "cpu"
    found = attention.packed_attention(half, 4, layout)
    weights = torch.randn(333, 32)
    (wanted * weights).sum().backward()
    (found.float() * weights).sum().backward()
    torch.testing.assert_close(found.float(), wanted, atol=0.03, rtol=0.03)
    torch.testing.assert_close(half.grad.float(), full.grad, atol=0.06, rtol=0.06)


def test_products_have_few_shapes():
    """Whatever the conversations' lengths are: oneDNN keeps what it compiles for each shape, and memory would grow."""
    pieces = attention.query_pieces([0, 5, 300, 333])
    assert [(start, first, end) for start, first, end, _ in pieces] == [
        (0, 0, 5), (5, 5, 133), (5, 133, 261), (5, 261, 300), (300, 300, 333)
    ]  # fmt: skip
    assert all((padded - first) % 32 == 0 and (padded - start) % 32 == 0 for start, first, _, padded in pieces)
    assert all(end <= padded < end + 32 for _, _, end, padded in pieces)
