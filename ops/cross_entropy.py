"""
The loss of a batch without its logits: cross-entropy through the output head, some tokens at a time, the gradients
taken at once. GPT-2's logits take 200 kB a token in float32, several times over; here they take a few MB in all.

    mean = loss.cross_entropy(states, weight, targets, n_vocab)
"""

import math

import torch

MAX_LOGITS = 2**22  # logits at a time at most: 16 MB in float32
MIN_TOKENS = 64  # tokens


def cross_entropy(states, weight, targets, n_vocab, scratch=None, unlikely=None, strength=0.0):
    """
    The mean of -log p(target) over the tokens, float32. states: (n, n_embd), before the head; weight: (rows, n_embd),
    of which the first n_vocab are tokens; targets: (n,) ids. Products run in autocast's dtype, the softmax in float32.
    scratch: memory for the weight in that dtype. unlikely: (2, m), tokens by number, in order, and ids that they should
    not be: `strength` times -log(1 - p(id)) is added (unlikelihood, Welleck et al. 2019).
    """
    type = states.device.type
    dtype = torch.get_autocast_dtype(type) if torch.is_autocast_enabled(type) else states.dtype
    how = dtype, torch.is_grad_enabled(), scratch, unlikely, strength
    return ChunkedCrossEntropy.apply(states, weight, targets, n_vocab, *how)


class ChunkedCrossEntropy(torch.autograd.Function):
    """As Liger kernel's fused linear cross-entropy (Hsu et al. 2024): backward only scales what forward found."""

    @staticmethod
    def forward(ctx, states, weight, targets, n_vocab, dtype, with_gradients, scratch, unlikely, strength):
        n, rows = (
            len(targets),
            min(max(MIN_TOKENS, MAX_LOGITS // len(weight)), -(-len(targets) // MIN_TOKENS) * MIN_TOKENS),
        )
        w = weight.to(dtype) if scratch is None else scratch.copy_(weight)
        to_x, to_w = (with_gradients and needed for needed in ctx.needs_input_grad[:2])
        dx = torch.empty(n, states.size(1), dtype=dtype, device=states.device) if to_x else None
        dw, share = None, 1.0
        ctx.added = to_w and weight.grad is not None and weight.grad.dtype == dtype != torch.float32
        if ctx.added:
            dw, share = weight.grad, 1 / n
        total = torch.zeros((), device=states.device)
        # all chunks in the same memory, since new pages take longer than the sums, and of one shape, since oneDNN
        # compiles a product for each
        x, products = states.new_zeros(rows, states.size(1), dtype=dtype), states.new_empty(rows, len(w), dtype=dtype)
        logits = states.new_empty(rows, len(w), dtype=torch.float32)
        if unlikely is not None:
            bounds = torch.searchsorted(unlikely[0], torch.arange(0, n + rows, rows, device=states.device)).tolist()
        for i, at in enumerate(range(0, n, rows)):
            wanted = targets[at : at + rows, None]
            k = len(wanted)
            x[:k] = states[at : at + k]
            logits.copy_(torch.mm(x, w.t(), out=products))
            logits[:, n_vocab:] = -math.inf
            largest = logits.amax(1, keepdim=True)
            total -= (logits[:k].gather(1, wanted) - largest[:k]).sum()
            d = logits.sub_(largest).exp_()
            sums = d.sum(1, keepdim=True)
            total += sums[:k].log().sum()
            d.div_(sums)
            if unlikely is not None:
                numbers, ids = unlikely[:, bounds[i] : bounds[i + 1]]
                p = d[numbers - at, ids]
                left = (1 - p).clamp(min=1e-5)
                total -= strength * left.log().sum()
                # of -log(1 - p) by the logits: p / (1 - p) at the token itself, less that times everybody's p
                odds = strength * p / left
                d.mul_(1 - torch.zeros(rows, 1, device=d.device).index_add_(0, numbers - at, odds[:, None]))
                d.index_put_((numbers - at, ids), odds, accumulate=True)
            if to_x or to_w:
                d[:k].scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=d.dtype))
                d[k:] = 0.0
                d = products.copy_(d)
                if to_x:
                    dx[at : at + k] = (d @ w)[:k]
                if to_w:
                    dw = d.t() @ x if dw is None else dw.addmm_(d.t(), x, alpha=share)
        ctx.dtypes = states.dtype, weight.dtype
        ctx.save_for_backward(dx, None if ctx.added else dw)
        ctx.n = n
        return total / n

    @staticmethod
    def backward(ctx, g):
        dx, dw = ctx.saved_tensors
        if ctx.added and g != 1:
            raise ValueError(f"the gradient of the head was added for a loss that is not scaled, here by {g.item()}")
        scale = g / ctx.n  # late, with the loss's own scale: float16 cannot hold 1 / n of a small probability
        dx = dx.to(ctx.dtypes[0]).mul_(scale) if dx is not None else None
        dw = dw.mul_(scale) if dw is not None else None
        return dx, dw, *[None] * 7
