"""
Linear layers and the embedding, as torch has them, but faster or smaller on a CPU: in bfloat16 little memory is kept
for backward, a few rows are multiplied the other way round, and the embedding's gradient is sparse.
"""

from typing import Any

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn import functional as F

MAX_TRANSPOSED_ROWS = 16  # up to so many rows weight @ x.T is about 1.4 times as fast as x @ weight.T on a CPU


class BFloat16LinearOnCPU(torch.autograd.Function):
    """
    A linear layer in bfloat16 on a CPU, applied to x or to gelu(x). Autocast would keep the weight's bfloat16 copy and
    gelu(x) until backward; this computes both again there, which takes milliseconds.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, gelu: bool) -> Tensor:
        ctx.dtype, ctx.gelu = x.dtype, gelu
        x = x.bfloat16()
        ctx.save_for_backward(x, weight)
        x = F.gelu(x, approximate="tanh") if gelu else x
        return F.linear(x, weight.bfloat16(), bias.bfloat16())

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        rows = dy.flatten(0, -2)
        dx = dw = None
        if ctx.needs_input_grad[1]:
            dw = rows.t() @ (F.gelu(x, approximate="tanh") if ctx.gelu else x).flatten(0, -2)
        if ctx.needs_input_grad[0]:
            dx = dy @ weight.bfloat16()
            if ctx.gelu:
                dx = torch.ops.aten.gelu_backward(dx, x, approximate="tanh")
            dx = dx.to(ctx.dtype)
        return dx, dw, rows.sum(0) if ctx.needs_input_grad[2] else None, None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    """F.linear of x (..., n_in), or of gelu(x) in the tanh form that GPT-2 was trained with; returns (..., n_out)."""
    autocasts = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    if bias is not None and autocasts and torch.is_grad_enabled() and x.device.type == "cpu":
        return BFloat16LinearOnCPU.apply(x, weight, bias, gelu)  # pyright: ignore[reportReturnType]  (torch's stub)
    if gelu:
        x = F.gelu(x, approximate="tanh")
    rows = x.numel() // x.size(-1)
    if rows > MAX_TRANSPOSED_ROWS or x.device.type != "cpu" or torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    columns = x.reshape(rows, -1).t()
    y = weight @ columns if bias is None else torch.addmm(bias[:, None], weight, columns)
    return y.t().reshape(*x.shape[:-1], -1)


class Linear(nn.Linear):
    """nn.Linear by the function above. It draws no weights of its own: GPT does that for all of its parameters."""

    def reset_parameters(self) -> None:
        pass

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:
        return linear(x, self.weight, self.bias, gelu)


class Embedding(nn.Embedding):
    """
    nn.Embedding whose weight may be the output head as well (sparse=True): its gradient as an embedding is then sparse
    on a CPU and is added to the head's, where a dense one would be a second matrix of that size.
    """

    def reset_parameters(self) -> None:
        pass  # GPT does that

    def forward(self, idx: Tensor) -> Tensor:
        return F.embedding(idx, self.weight, sparse=self.sparse and idx.device.type == "cpu")

    def head(self, x: Tensor) -> Tensor:
        """The embedding as the output head: (..., n_embd) -> logits (..., rows of the embedding)."""
        return linear(x, self.weight)
