"""
The loss of a batch without its logits: cross-entropy through the output head, some tokens at a time, with the gradients
computed at once. GPT-2's logits take 200 kB a token in float32, several times over; here they take a few MB in all.

    mean = cross_entropy(hidden_states, head_weight, targets, n_vocab)
"""

import functools
import math
from typing import Any

import torch
from torch import Tensor

MAX_LOGITS = 2**22  # computed at a time: 16 MB in float32
MAX_LOGITS_ON_GPU = 2**26  # whose products are slow when they are small: 256 MB
MIN_TOKENS = 64  # at a time, however large the vocabulary is
# what the head's gradient is multiplied by while it is summed in float16, which ends at 65,504: a thousand tokens with
# the same target would be beyond, and no scale of the loss would help
FLOAT16_SCALE = 2.0**-8


class HeadBuffer:
    """
    Memory for the head's weight in autocast's dtype. On a CPU it is kept from step to step, since there new pages take
    longer to get than the numbers to convert.
    """

    def __init__(self) -> None:
        self.buffer: Tensor | None = None

    def filled(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """The weight in `dtype`."""
        if weight.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return weight.to(dtype)
        if self.buffer is None or self.buffer.shape != weight.shape or self.buffer.dtype != dtype:
            self.buffer = torch.empty_like(weight, dtype=dtype, requires_grad=False)
        return self.buffer.copy_(weight)


def loss_and_gradient(logits: Tensor, wanted: Tensor, n_vocab: int) -> tuple[Tensor, Tensor]:
    """
    (the sum of -log p(wanted), its gradient by the logits) of logits (n, rows) and the ids wanted (n,). torch.compile
    makes two passes over the logits of it, and keeps nothing in float32.
    """
    columns = torch.arange(logits.size(1), device=logits.device)
    x = logits.float().masked_fill(columns >= n_vocab, -math.inf)
    log_sums = x.logsumexp(1, keepdim=True)
    is_wanted = columns == wanted[:, None]
    loss = (log_sums - x.gather(1, wanted[:, None])).sum()
    return loss, ((x - log_sums).exp() - is_wanted.float()).to(logits.dtype)


def compile_for_gpu() -> None:
    """Have torch.compile make a kernel or two of loss_and_gradient, by which a GPU computes the loss."""
    global loss_and_gradient
    loss_and_gradient = compiled_loss()


@functools.cache  # for the next run of the process as well: what is compiled must not be compiled again
def compiled_loss() -> Any:
    """loss_and_gradient, compiled."""
    return torch.compile(loss_and_gradient)


def cross_entropy(
    hidden_states: Tensor,
    weight: Tensor,
    targets: Tensor,
    n_vocab: int,
    buffer: HeadBuffer | None = None,
    unlikelihood_candidates: Tensor | None = None,
    unlikelihood: float = 0.0,
) -> Tensor:
    """
    The mean of -log p(target) over the tokens, a float32 scalar. Products run in autocast's dtype, the softmax in
    float32.

    hidden_states: (n, n_embd), before the head. weight: (rows, n_embd), of which the first n_vocab stand for tokens.
    targets: (n,) ids. unlikelihood_candidates: (2, m), numbers of tokens in rising order, and ids that are wrong there;
    `unlikelihood` times -log(1 - p(id)) is added for each of them (Welleck et al. 2019).
    """
    device = hidden_states.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_states.dtype
    shared = hidden_states, weight, targets, n_vocab, dtype, torch.is_grad_enabled()
    if device == "cuda" and unlikelihood_candidates is None:
        loss = CrossEntropyOnGPU.apply(*shared)
    else:
        loss = ChunkedCrossEntropy.apply(*shared, buffer or HeadBuffer(), unlikelihood_candidates, unlikelihood)
    assert isinstance(loss, Tensor)
    return loss


class ChunkedCrossEntropy(torch.autograd.Function):
    """As Liger kernel's fused linear cross-entropy (Hsu et al. 2024): backward only scales what forward computed."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_states: Tensor,
        weight: Tensor,
        targets: Tensor,
        n_vocab: int,
        dtype: torch.dtype,
        with_gradients: bool,
        buffer: HeadBuffer,
        candidates: Tensor | None,
        unlikelihood: float,
    ) -> Tensor:
        n, n_rows = len(targets), len(weight)
        # chunks are alike in shape, since oneDNN compiles a product for each new one
        chunk = min(max(MIN_TOKENS, MAX_LOGITS // n_rows), -(-n // MIN_TOKENS) * MIN_TOKENS)
        w = buffer.filled(weight, dtype)
        needs_dx, needs_dw = (with_gradients and needed for needed in ctx.needs_input_grad[:2])
        dx = hidden_states.new_empty(n, hidden_states.size(1), dtype=dtype) if needs_dx else None
        dw, ctx.dw_scale = None, FLOAT16_SCALE if dtype == torch.float16 else 1.0
        # where gradients are kept in the dtype of the products, the head's is added to weight.grad as it comes
        ctx.added = needs_dw and weight.grad is not None and weight.grad.dtype == dtype != torch.float32
        if ctx.added:
            dw, ctx.dw_scale = weight.grad, 1 / n
        elif needs_dw:
            dw = torch.empty_like(w)
        total = torch.zeros((), device=hidden_states.device)
        # all chunks use the same memory, since new pages take longer than the sums
        x = hidden_states.new_zeros(chunk, hidden_states.size(1), dtype=dtype)
        products = hidden_states.new_empty(chunk, n_rows, dtype=dtype)
        logits = hidden_states.new_empty(chunk, n_rows, dtype=torch.float32)
        bounds: list[int] = []  # of each chunk's candidates
        if candidates is not None:
            edges = torch.arange(0, n + chunk, chunk, device=hidden_states.device)
            bounds = torch.searchsorted(candidates[0], edges).tolist()
        for i, start in enumerate(range(0, n, chunk)):
            wanted = targets[start : start + chunk, None]
            k = len(wanted)
            x[:k] = hidden_states[start : start + k]
            logits.copy_(torch.mm(x, w.t(), out=products))
            logits[:, n_vocab:] = -math.inf
            largest = logits.amax(1, keepdim=True)
            total -= (logits[:k].gather(1, wanted) - largest[:k]).sum()
            d = logits.sub_(largest).exp_()
            sums = d.sum(1, keepdim=True)
            total += sums[:k].log().sum()
            d.div_(sums)  # the probabilities, which become the gradient by the logits
            if candidates is not None:
                numbers, ids = candidates[:, bounds[i] : bounds[i + 1]]
                p = d[numbers - start, ids]
                rest = (1 - p).clamp(min=1e-5)
                total -= unlikelihood * rest.log().sum()
                # of -log(1 - p) by the logits: p / (1 - p) at the candidate itself, less that times everybody's p
                odds = unlikelihood * p / rest
                d.mul_(1 - torch.zeros(chunk, 1, device=d.device).index_add_(0, numbers - start, odds[:, None]))
                d.index_put_((numbers - start, ids), odds, accumulate=True)
            if needs_dx or needs_dw:
                d[:k].scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=d.dtype))
                d[k:] = 0.0
                d = products.copy_(d)
                if dx is not None:
                    dx[start : start + k] = (d @ w)[:k]
                if dw is not None:
                    dw.addmm_(d.t(), x, beta=float(ctx.added or start > 0), alpha=ctx.dw_scale)
        ctx.dtypes = hidden_states.dtype, weight.dtype
        ctx.save_for_backward(dx, None if ctx.added else dw)
        ctx.n = n
        return total / n

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        dx, dw = ctx.saved_tensors
        if ctx.added and g != 1:
            raise ValueError(f"the gradient of the head was added for a loss that is not scaled, here by {g.item()}")
        scale = g / ctx.n  # late, with the loss's own scale: float16 cannot hold 1 / n of a small probability
        dx = dx.to(ctx.dtypes[0]).mul_(scale) if dx is not None else None
        if dw is not None:
            dw = (dw.to(ctx.dtypes[1]) if dw.dtype == torch.float16 else dw).mul_(scale / ctx.dw_scale)
        return dx, dw, *[None] * 7


class CrossEntropyOnGPU(torch.autograd.Function):
    """The same in few large pieces, whose memory a GPU's allocator keeps anyway, and without a word from Python."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_states: Tensor,
        weight: Tensor,
        targets: Tensor,
        n_vocab: int,
        dtype: torch.dtype,
        with_gradients: bool,
    ) -> Tensor:
        n_pieces = max(1, -(-len(targets) * len(weight) // MAX_LOGITS_ON_GPU))
        x, w = hidden_states.to(dtype), weight.to(dtype)
        needs_dx, needs_dw = (with_gradients and needed for needed in ctx.needs_input_grad[:2])
        total, dx = torch.zeros((), device=x.device), torch.empty_like(x) if needs_dx else None
        dw, ctx.dw_scale = torch.empty_like(w) if needs_dw else None, FLOAT16_SCALE if dtype == torch.float16 else 1.0
        start = 0
        for piece, wanted in zip(x.chunk(n_pieces), targets.chunk(n_pieces), strict=True):
            loss, d = loss_and_gradient(piece @ w.t(), wanted, n_vocab)
            total += loss
            if dx is not None:
                torch.mm(d, w, out=dx[start : start + len(piece)])
            if dw is not None:
                dw.addmm_(d.t(), piece, beta=float(start > 0), alpha=ctx.dw_scale)
            start += len(piece)
        ctx.dtypes, ctx.n = (hidden_states.dtype, weight.dtype), len(targets)
        ctx.save_for_backward(dx, dw)
        return total / len(targets)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        dx, dw = ctx.saved_tensors
        scale = g / ctx.n
        dx = dx if dx is None else dx.to(ctx.dtypes[0]) * scale
        dw = dw if dw is None else dw.to(ctx.dtypes[1]) * (scale / ctx.dw_scale)
        return dx, dw, None, None, None, None
