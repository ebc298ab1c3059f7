"""
Causal attention within the conversations of a packed batch. No token sees another conversation's, and nothing of the
size of tokens x tokens is kept: each conversation is attended by itself, or all by one kernel that knows their starts.

    layout = packed_layout(cu_seqlens, x, head_size, longest)      # once a batch
    y = packed_attention(qkv, n_head, layout)             # (N, 3 n_embd) -> (N, n_embd), in each layer

CUDA in 16 bits: torch's variable-length flash attention. A CPU in bfloat16: PackedOnCPU below, a third faster than
torch's own flash kernel there. All else: scaled_dot_product_attention for each conversation.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

QUERIES_PER_PIECE = 128  # queries at a time: their scores stay in the processor's cache
VARLEN: list[Callable[..., Any]] = []  # torch's variable-length attention, once it is imported
QUERY_MULTIPLE = 32  # pieces are rounded up to a multiple of so many queries, so that oneDNN meets few shapes


class PackedLayout(NamedTuple):
    """Where the conversations of a packed row are, and the kernel that attends to them. Made by packed_layout."""

    cu_seqlens: Tensor  # (conversations + 1,) int32 on the row's device: where each begins, and the row's length
    boundaries: list[int] | None  # the same numbers for the kernels that read them one by one; None for "varlen"
    kernel: Literal["varlen", "cpu", "sdpa"]
    longest: int  # no conversation has more tokens: "varlen" starts so many threads for each of them


def packed_layout(cu_seqlens: Tensor, x: Tensor, head_size: int, longest: int) -> PackedLayout:
    """The layout of a row x whose conversations begin at `cu_seqlens`, each of at most `longest` tokens."""
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    varlen = device == "cuda" and dtype in (torch.bfloat16, torch.float16) and head_size % 8 == 0
    if varlen and torch.cuda.get_device_capability(x.device) >= (8, 0):
        if not VARLEN:  # imported only where it is used, and before torch.compile meets it
            from torch.nn.attention.varlen import varlen_attn

            VARLEN.append(varlen_attn)
        return PackedLayout(cu_seqlens, None, "varlen", longest)
    kernel = "cpu" if device == "cpu" and dtype == torch.bfloat16 else "sdpa"
    return PackedLayout(cu_seqlens, cu_seqlens.tolist(), kernel, longest)


def packed_attention(qkv: Tensor, n_head: int, layout: PackedLayout) -> Tensor:
    """qkv: (N, 3 n_embd), the queries, keys and values of the N tokens of a packed row. Returns (N, n_embd)."""
    N, C = qkv.size(0), qkv.size(1) // 3
    if layout.boundaries is None:
        q, k, v = qkv.view(N, 3, n_head, C // n_head).unbind(1)
        starts, longest = layout.cu_seqlens, layout.longest
        y = VARLEN[0](q, k, v, starts, starts, longest, longest, window_size=(-1, 0))  # (-1, 0): causal
        assert isinstance(y, Tensor)
        return y.reshape(N, C)
    if layout.kernel == "cpu":
        y = PackedOnCPU.apply(qkv, n_head, layout.boundaries)
        assert isinstance(y, Tensor)
        return y
    lengths = [end - start for start, end in itertools.pairwise(layout.boundaries)]
    return torch.cat([single_attention(part, n_head) for part in qkv.split(lengths)])


def single_attention(qkv: Tensor, n_head: int) -> Tensor:
    """One conversation, (T, 3 n_embd) -> (T, n_embd), through torch's kernel."""
    q, k, v = qkv.view(1, qkv.size(0), 3, n_head, -1).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)[0].transpose(0, 1).reshape(qkv.size(0), -1)


def exclude_from_compile() -> None:
    """Have torch.compile call single_attention as it is: it would compile it anew for each length of a conversation."""
    global single_attention
    single_attention = torch.compiler.disable(single_attention)  # pyright: ignore[reportAssignmentType]


class PackedOnCPU(torch.autograd.Function):
    """
    softmax(q k^T) v for QUERIES_PER_PIECE queries at a time, each of which sees the keys of its conversation up to its
    own. Backward starts from the logarithms of the softmax's sums, as flash attention does (Dao et al. 2022). Products
    are in bfloat16, the softmax is in float32.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, n_head: int, boundaries: list[int]) -> Tensor:
        N, C = qkv.size(0), qkv.size(1) // 3
        q, k, v = split_heads(qkv, n_head, 3)
        q = q * q.size(2) ** -0.5
        out, log_sums = torch.empty(N, C, dtype=qkv.dtype), torch.empty(n_head, N, 1)
        (y,) = split_heads(out, n_head, 1)
        for start, first, end, padded_end in query_pieces(boundaries):
            n = end - first
            scores = torch.bmm(rows(q, first, padded_end), rows(k, start, padded_end).transpose(1, 2)).float()
            scores[..., first - start :].masked_fill_(future_mask(padded_end - first), -math.inf)
            largest = scores.amax(-1, keepdim=True)
            p = scores.sub_(largest).exp_()
            total = p.sum(-1, keepdim=True)
            weighted = torch.bmm(p.to(v.dtype), rows(v, start, padded_end))
            y[:, first:end] = weighted[:, :n] / total[:, :n]
            log_sums[:, first:end] = largest[:, :n] + total[:, :n].log()
        ctx.save_for_backward(qkv, out, log_sums)
        ctx.n_head, ctx.boundaries = n_head, boundaries
        return out

    @staticmethod
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor, None, None]:
        qkv, out, log_sums = ctx.saved_tensors
        dqkv = torch.empty_like(qkv)
        (q, k, v), (dq, dk, dv) = (split_heads(x, ctx.n_head, 3) for x in (qkv, dqkv))
        (y,), (dy,) = (split_heads(x, ctx.n_head, 1) for x in (out, dout))
        scale = q.size(2) ** -0.5
        q = q * scale
        correction = (dy * y).sum(-1, keepdim=True, dtype=torch.float32)
        for start, first, end, padded_end in reversed(query_pieces(ctx.boundaries)):
            n = end - first
            p = torch.bmm(rows(q, first, padded_end), rows(k, start, padded_end).transpose(1, 2)).float()
            p[:, :n].sub_(log_sums[:, first:end]).exp_()
            p[..., first - start :].masked_fill_(future_mask(padded_end - first), 0.0)
            p[:, n:] = 0.0
            ds = torch.bmm(rows(dy, first, padded_end), rows(v, start, padded_end).transpose(1, 2)).float()
            ds = ds.sub_(rows(correction, first, padded_end)).mul_(p).to(q.dtype)
            p = p.to(q.dtype)
            dq[:, first:end] = torch.bmm(ds, rows(k, start, padded_end))[:, :n]
            for gradient, left, right in ((dk, ds, q), (dv, p, dy)):
                part = torch.bmm(left.transpose(1, 2), rows(right, first, padded_end))[:, : end - start]
                if end in ctx.boundaries:  # the conversation's last queries see all of its keys
                    gradient[:, start:end] = part
                else:
                    gradient[:, start:end] += part
        dq *= scale
        return dqkv, None, None


def split_heads(x: Tensor, n_head: int, n: int) -> Tensor:
    """(N, n * n_embd) as a view (n, n_head, N, head_size)."""
    return x.view(x.size(0), n, n_head, -1).permute(1, 2, 0, 3)


def rows(x: Tensor, start: int, end: int) -> Tensor:
    """x[:, start:end], with zeros where it goes beyond the packed row."""
    return F.pad(x[:, start:end], (0, 0, 0, end - x.size(1))) if end > x.size(1) else x[:, start:end]


def query_pieces(boundaries: list[int]) -> list[tuple[int, int, int, int]]:
    """
    (start, first, end, padded_end) of each piece: its conversation starts at `start`, its queries are first:end, and
    the products are computed for first:padded_end, a multiple of QUERY_MULTIPLE. The queries added belong to the next
    conversation, or to none, and what they give is thrown away: oneDNN compiles a product for each new shape and keeps
    it, which took 9 MB more at each step.
    """
    pieces = []
    for start, conversation_end in itertools.pairwise(boundaries):
        for first in range(start, conversation_end, QUERIES_PER_PIECE):
            end = min(first + QUERIES_PER_PIECE, conversation_end)
            pieces.append((start, first, end, first - (first - end) // QUERY_MULTIPLE * QUERY_MULTIPLE))
    return pieces


@functools.lru_cache
def future_mask(n: int) -> Tensor:
    """(n, n) bool: True for the keys that come after a query."""
    return torch.ones(n, n, dtype=torch.bool).triu_(1)
