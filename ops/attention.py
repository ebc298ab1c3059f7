"""
Causal attention within the conversations of a packed batch. No token sees another conversation's, and nothing of the
size of tokens x tokens is kept: each conversation is attended by itself, or all by one kernel that knows their starts.

    y = attention.packed(qkv, n_head, starts)       # (N, 3 n_embd) -> (N, n_embd)

CUDA in 16 bits: torch's variable-length flash attention. A CPU in bfloat16: PackedOnCPU below, a third faster than
torch's own flash kernel there. All else: scaled_dot_product_attention for each conversation.
"""

import functools
import itertools
import math

import torch
from torch.nn import functional as F

QUERIES_PER_PIECE = 128  # queries at a time: their scores stay in the processor's cache
QUERY_MULTIPLE = 32  # queries that a piece's number is a multiple of


def packed_attention(qkv, n_head, starts):
    """
    qkv: (N, 3 n_embd), the queries, keys and values of N tokens. starts: where each conversation begins, and N, as
    `layout` gives it. Returns (N, n_embd).
    """
    N, C = qkv.size(0), qkv.size(1) // 3
    if isinstance(starts, torch.Tensor):
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = qkv.view(N, 3, n_head, C // n_head).unbind(1)
        return varlen_attn(q, k, v, starts, starts, N, N, window_size=(-1, 0)).reshape(N, C)  # causal
    if qkv.device.type == "cpu" and qkv.dtype == torch.bfloat16:
        return PackedOnCPU.apply(qkv, n_head, starts)
    lengths = [end - start for start, end in itertools.pairwise(starts)]
    return torch.cat([single_attention(part, n_head) for part in qkv.split(lengths)])


def cu_seqlens_for(starts, x, head_size):
    """`starts`, (conversations + 1,) int32, as `packed` wants it for x: a tensor for the flash kernel, else a list."""
    type = x.device.type
    dtype = torch.get_autocast_dtype(type) if torch.is_autocast_enabled(type) else x.dtype
    flash = type == "cuda" and dtype in (torch.bfloat16, torch.float16) and head_size % 8 == 0
    if flash and torch.cuda.get_device_capability(x.device) >= (8, 0):
        return starts
    return starts.tolist()


def single_attention(qkv, n_head):
    """One conversation, through torch's kernel."""
    q, k, v = qkv.view(1, qkv.size(0), 3, n_head, -1).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)[0].transpose(0, 1).reshape(qkv.size(0), -1)


class PackedOnCPU(torch.autograd.Function):
    """
    softmax(q k^T) v in pieces of ROWS queries, which see the keys of their conversation up to their own, and its
    gradient from the logarithms of the softmax's sums, as flash attention has it (Dao et al. 2022). Products are in
    bfloat16, the softmax is in float32.
    """

    @staticmethod
    def forward(ctx, qkv, n_head, starts):
        N, C = qkv.size(0), qkv.size(1) // 3
        q, k, v = split_heads(qkv, n_head, 3)
        q = q * q.size(2) ** -0.5
        out, sums = torch.empty(N, C, dtype=qkv.dtype), torch.empty(n_head, N, 1)
        (y,) = split_heads(out, n_head, 1)
        for start, a, b, c in query_pieces(starts):
            s = torch.bmm(q[:, a:c], k[:, start:c].transpose(1, 2)).float()
            s[..., a - start :].masked_fill_(future_mask(c - a), -math.inf)
            largest = s.amax(-1, keepdim=True)
            p = s.sub_(largest).exp_()
            total = p.sum(-1, keepdim=True)
            found = torch.bmm(p.to(v.dtype), v[:, start:c])
            y[:, a:b] = found[:, : b - a] / total[:, : b - a]
            sums[:, a:b] = largest[:, : b - a] + total[:, : b - a].log()
        ctx.save_for_backward(qkv, out, sums)
        ctx.n_head, ctx.starts = n_head, starts
        return out

    @staticmethod
    def backward(ctx, dout):
        qkv, out, sums = ctx.saved_tensors
        dqkv = torch.empty_like(qkv)
        (q, k, v), (dq, dk, dv) = (split_heads(x, ctx.n_head, 3) for x in (qkv, dqkv))
        (y,), (dy,) = (split_heads(x, ctx.n_head, 1) for x in (out, dout))
        scale = q.size(2) ** -0.5
        q = q * scale
        correction = (dy * y).sum(-1, keepdim=True, dtype=torch.float32)
        for start, a, b, c in reversed(query_pieces(ctx.starts)):
            p = torch.bmm(q[:, a:c], k[:, start:c].transpose(1, 2)).float()
            p[:, : b - a].sub_(sums[:, a:b]).exp_()
            p[..., a - start :].masked_fill_(future_mask(c - a), 0.0)
            p[:, b - a :] = 0.0
            ds = torch.bmm(dy[:, a:c], v[:, start:c].transpose(1, 2)).float()
            ds = ds.sub_(correction[:, a:c]).mul_(p).to(q.dtype)
            p = p.to(q.dtype)
            dq[:, a:b] = torch.bmm(ds, k[:, start:c])[:, : b - a]
            for to, left, right in ((dk, ds, q), (dv, p, dy)):
                found = torch.bmm(left.transpose(1, 2), right[:, a:c])[:, : b - start]
                if b in ctx.starts:  # the conversation's last queries see all of its keys
                    to[:, start:b] = found
                else:
                    to[:, start:b] += found
        dq *= scale
        return dqkv, None, None


def split_heads(x, n_head, n):
    """(N, n * n_embd) as n views (n_head, N, head_size)."""
    return x.view(x.size(0), n, n_head, -1).permute(1, 2, 0, 3)


def query_pieces(starts):
    """
    (where its conversation starts, first query, behind the last one, behind the last one that goes along) of each piece
    of ROWS queries. Queries of the next conversation go along up to a multiple of STEP: oneDNN compiles a product for
    each new shape and keeps it, which took 9 MB more at each step.
    """
    found = []
    for start, end in itertools.pairwise(starts):
        for a in range(start, end, QUERIES_PER_PIECE):
            b = min(a + QUERIES_PER_PIECE, end)
            c = a - (a - b) // QUERY_MULTIPLE * QUERY_MULTIPLE
            found.append((start, a, b, c if c <= starts[-1] else b))
    return found


@functools.lru_cache
def future_mask(n):
    """(n, n): the keys that come after a query."""
    return torch.ones(n, n, dtype=torch.bool).triu_(1)
