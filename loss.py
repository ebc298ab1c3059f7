"""
The loss of a batch without its logits: cross-entropy through the output head, some tokens at a time, the gradients
taken at once. GPT-2's logits take 200 kB a token in float32, several times over; here they take a few MB in all.

    mean = loss.cross_entropy(states, weight, targets, n_vocab)
"""

import math

import torch

CHUNK = 2**23  # logits at a time at most: 32 MB in float32
LEAST = 64  # tokens


def cross_entropy(states, weight, targets, n_vocab):
    """
    The mean of -log p(target) over the tokens, float32. states: (n, n_embd), before the head; weight: (rows, n_embd),
    of which the first n_vocab are tokens; targets: (n,) ids. Products run in autocast's dtype, the softmax in float32.
    """
    type = states.device.type
    dtype = torch.get_autocast_dtype(type) if torch.is_autocast_enabled(type) else states.dtype
    return ChunkedCrossEntropy.apply(states, weight, targets, n_vocab, dtype, torch.is_grad_enabled())


class ChunkedCrossEntropy(torch.autograd.Function):
    """As Liger kernel's fused linear cross-entropy (Hsu et al. 2024): backward only scales what forward found."""

    @staticmethod
    def forward(ctx, states, weight, targets, n_vocab, dtype, with_gradients):
        n, chunk = len(targets), max(LEAST, CHUNK // len(weight))
        x, w = states.to(dtype), weight.to(dtype)
        to_x, to_w = (with_gradients and needed for needed in ctx.needs_input_grad[:2])
        dx = torch.empty_like(x) if to_x else None
        dw = None
        total = torch.zeros((), device=x.device)
        for at in range(0, n, chunk):
            part, wanted = x[at : at + chunk], targets[at : at + chunk, None]
            logits = (part @ w.t()).float()
            logits[:, n_vocab:] = -math.inf
            sums = logits.logsumexp(1, keepdim=True)
            total += (sums - logits.gather(1, wanted)).sum()
            if to_x or to_w:
                d = logits.sub_(sums).exp_()
                d.scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=d.dtype))
                d = d.to(dtype)
                if to_x:
                    torch.mm(d, w, out=dx[at : at + chunk])
                if to_w:
                    dw = d.t() @ part if dw is None else dw.addmm_(d.t(), part)
        ctx.dtypes = states.dtype, weight.dtype
        ctx.save_for_backward(dx, dw)
        ctx.n = n
        return total / n

    @staticmethod
    def backward(ctx, g):
        dx, dw = ctx.saved_tensors
        scale = g / ctx.n  # late, with the loss's own scale: float16 cannot hold 1 / n of a small probability
        dx = dx.to(ctx.dtypes[0]).mul_(scale) if dx is not None else None
        dw = dw.mul_(scale) if dw is not None else None
        return dx, dw, None, None, None, None
