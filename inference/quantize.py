"""
Weights in fewer bits for a CPU, where a reply waits for the weights to come from memory: bfloat16, int8 with a scale a
row, int4 with a scale for each 32. Sums are taken in float32; biases, norms and positions stay as they are.

    quantize(model, "int8")                       # in place
    logits = Decoder(model)(ids, slots, places, cache, [0])     # a few tokens, by kernels.py
"""

import numpy as np
import torch
import torch.nn as nn
from torch.nn import functional as F

from ops import cpu_block
from ops.cpu_block import GROUP_SIZE
from ops.simd import LANES

FORMATS = ("bfloat16", "int8", "int4")
MAX_KERNEL_ROWS = 32  # beyond so many rows torch's own matrix products are faster than the kernels
HEAD_ROWS_PER_PIECE = 4096  # of a large matrix that are unpacked at once
ROW_MULTIPLE = (
    16  # oneDNN never forgets the code it made for a number of rows: serving would grow by megabytes a second
)
ROWS_PER_PIECE = 32  # rows that are packed at once: freed memory of larger pieces stays with the process


def quantize_weight(weight, format):
    """(values, scales) of a weight (n_out, n_in), as kernels.py has them."""
    parts = [quantize_rows(rows.float(), format) for rows in weight.split(ROWS_PER_PIECE)]
    return tuple(torch.cat(each) for each in zip(*parts, strict=True))


def quantize_rows(weight, format):
    n_out, n_in = weight.shape
    if format == "bfloat16":
        return weight.bfloat16(), torch.ones(n_out)
    if format == "int8" or n_in % GROUP_SIZE:
        scales = weight.abs().amax(1) / 127
        return (weight / without_zeros(scales)[:, None]).round_().to(torch.int8), scales
    groups = weight.view(n_out, -1, 2, LANES)
    # the number of largest size becomes -8, so that all sixteen steps are used
    extreme = groups.flatten(2).gather(2, groups.abs().flatten(2).argmax(2, keepdim=True))
    scales = extreme / -8
    numbers = (groups / without_zeros(scales)[..., None]).round_().clamp_(-8, 7).to(torch.int8)
    lower, upper = numbers[:, :, 0], numbers[:, :, 1]
    return (lower & 15 | upper << 4).view(torch.uint8).reshape(n_out, -1), scales.squeeze(2)


def without_zeros(scales):
    return scales.masked_fill(scales == 0, 1.0)


def dequantize(values, scales, dtype=torch.float32):
    """The weight that (values, scales) stand for, but for a scale a row."""
    if values.dtype != torch.uint8:
        return values.to(dtype)
    signed = values.view(torch.int8).view(len(values), -1, 1, LANES)
    halves = torch.cat((signed << 4 >> 4, signed >> 4), dim=2)
    return (halves.to(dtype) * scales.to(dtype)[:, :, None, None]).view(len(values), -1)


class QuantizedLinear(nn.Module):
    """A linear layer whose weight is kept in fewer bits; unpacked for each use, and multiplied in `dtype`."""

    def __init__(self, weight, bias, format, dtype):
        super().__init__()
        values, scales = quantize_weight(weight.detach(), format)
        self.register_buffer("values", values)
        self.register_buffer("scales", scales)
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.dtype = dtype

    def forward(self, x, gelu=False):
        if gelu:
            x = F.gelu(x, approximate="tanh")
        y = quantized_matmul(x, self.values, self.scales, self.dtype)
        return y if self.bias is None else y.add_(self.bias)


def quantized_matmul(x, values, scales, dtype):
    """x @ weight.T, float32: for a few rows by the kernels, else in `dtype`."""
    rows = x.numel() // x.size(-1)
    if rows <= MAX_KERNEL_ROWS and x.size(-1) % GROUP_SIZE == 0:
        x, y = x.reshape(rows, -1).float().contiguous(), torch.empty(*x.shape[:-1], len(values))
        parts = (
            as_numpy(x),
            as_numpy(values),
            as_numpy(scales),
            np.zeros(len(values), np.float32),
            as_numpy(y.view(rows, -1)),
        )
        cpu_block.linear(*parts, False)
        return y
    y = F.linear(pad_rows(x.reshape(rows, -1), dtype), dequantize(values, scales, dtype))[:rows].float()
    y = y.view(*x.shape[:-1], -1)
    return y.mul_(scales) if scales.dim() == 1 else y


def pad_rows(x, dtype):
    """x (rows, n) in dtype, with rows of zeros up to a multiple of EVEN."""
    found = x.new_zeros(-(-len(x) // ROW_MULTIPLE) * ROW_MULTIPLE, x.size(1), dtype=dtype)
    found[: len(x)] = x
    return found


class QuantizedEmbedding(QuantizedLinear):
    """The embedding, which is the head as well."""

    def forward(self, idx):
        values, scales = self.values[idx.flatten()], self.scales[idx.flatten()]
        rows = dequantize(values, scales) * (scales[:, None] if scales.dim() == 1 else 1)
        return rows.view(*idx.shape, -1)

    def head(self, x):
        """Logits (..., rows) of final states."""
        if x.numel() // x.size(-1) <= MAX_KERNEL_ROWS:
            return quantized_matmul(x, self.values, self.scales, self.dtype)
        parts = zip(
            self.values.split(HEAD_ROWS_PER_PIECE), self.scales.split(HEAD_ROWS_PER_PIECE), strict=True
        )  # unpacked, all would be large
        return torch.cat([quantized_matmul(x, *part, self.dtype) for part in parts], dim=-1)


def quantize_model(model, format, dtype=torch.float32):
    """
    The model with its matrices in `format`, in place, for generating only. int4 keeps the embedding in int8.
    dtype: of the products for many tokens at once.
    """
    for block in model.transformer.h:
        for layer, names in ((block.attn, ("c_attn", "c_proj")), (block.mlp, ("c_fc", "c_proj"))):
            for name in names:
                linear = getattr(layer, name)
                if not isinstance(linear, QuantizedLinear):  # checkpoint.load packs while it reads
                    setattr(layer, name, QuantizedLinear(linear.weight, linear.bias, format, dtype))
    wte = model.transformer.wte.weight
    model.transformer.wte = QuantizedEmbedding(wte, None, "int8" if format == "int4" else format, dtype)
    return model.requires_grad_(False)


def as_numpy(tensor):
    """A tensor's memory as numpy has it, bfloat16 as uint16."""
    tensor = tensor.detach()
    return tensor.view(torch.int16).numpy().view(np.uint16) if tensor.dtype == torch.bfloat16 else tensor.numpy()
