"""Linear layers on a CPU: in bfloat16 with little memory kept for backward, and for a few rows at a time."""

import torch
from torch.nn import functional as F


class BFloat16LinearOnCPU(torch.autograd.Function):
    """
    Linear in bfloat16 on a CPU, of x or of gelu(x). Unlike autocast's it keeps neither the weight's bfloat16 copy nor
    gelu(x) for backward but makes them anew, which takes milliseconds.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, gelu):
        ctx.dtype, ctx.gelu = x.dtype, gelu
        x = x.bfloat16()
        ctx.save_for_backward(x, weight)
        x = F.gelu(x, approximate="tanh") if gelu else x
        return F.linear(x, weight.bfloat16(), bias.bfloat16())

    @staticmethod
    def backward(ctx, dy):
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


def linear(x, weight, bias=None, gelu=False):
    """
    F.linear of x, or of gelu(x) in the tanh form GPT-2 was trained with; a few rows on a CPU as weight @ x.T, which
    decodes 2 to 8 sequences about 1.4 times as fast.
    """
    if bias is not None and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu") and x.device.type == "cpu":
        return BFloat16LinearOnCPU.apply(x, weight, bias, gelu)
    if gelu:
        x = F.gelu(x, approximate="tanh")
    rows = x.numel() // x.size(-1)
    if rows > 16 or x.device.type != "cpu" or torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    columns = x.reshape(rows, -1).t()
    y = weight @ columns if bias is None else torch.addmm(bias[:, None], weight, columns)
    return y.t().reshape(*x.shape[:-1], -1)
