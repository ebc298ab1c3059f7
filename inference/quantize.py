"""
Weights in fewer bits for a CPU, where a token takes as long as the weights take to come from memory: bfloat16, int8
with a scale for each row, int4 with a scale for each 32 numbers. Sums are taken in float32, in which biases, norms and
positions stay.

    quantize_model(model, "int8")       # in place; inference/cpu_decoder.py computes with the packed weights
"""

from typing import Literal

import numpy as np
import torch
import torch.nn as nn
from torch.nn import functional as F

from model import GPT
from ops import cpu_dot
from ops.cpu_dot import GROUP_SIZE
from ops.simd import LANES

WeightFormat = Literal["bfloat16", "int8", "int4"]
MAX_KERNEL_ROWS = 32  # tokens; for more at once torch's matrix products are faster than the kernels of cpu_step
HEAD_ROWS_PER_PIECE = 4096  # rows of the embedding that are unpacked at once: all 50,000 would take 150 MB
# Inputs of matrix products are padded to a multiple of this many rows. oneDNN generates machine code for each number of
# rows and keeps it forever: without the padding, a server's memory would grow by megabytes a second.
ROW_MULTIPLE = 16
# Rows of a weight that are packed at once. The memory of larger temporary pieces is not given back to the system.
ROWS_PER_PIECE = 32


def quantize_weight(weight: torch.Tensor, weight_format: WeightFormat) -> tuple[torch.Tensor, torch.Tensor]:
    """
    (values, scales) of a weight (n_out, n_in). bfloat16: values (n_out, n_in), and scales (n_out,) of ones. int8 and
    int4: the tiles of ops/cpu_tile.py, with scales (n_out,) of int8. Of a shape that tiles cannot hold both are int8,
    values (n_out, n_in), which torch alone multiplies.
    """
    pieces = [quantize_rows(rows.float(), weight_format, is_tiled(weight)) for rows in weight.split(ROWS_PER_PIECE)]
    values, scales = zip(*pieces, strict=True)
    return torch.cat(values), torch.cat(scales)


def is_tiled(weight: torch.Tensor) -> bool:
    """Whether tiles can hold a weight of this shape."""
    return weight.size(0) % GROUP_SIZE == 0 and weight.size(1) % GROUP_SIZE == 0


def quantize_rows(weight: torch.Tensor, weight_format: WeightFormat, tiled: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """quantize_weight of a few rows, float32."""
    n_out, n_in = weight.shape
    if weight_format == "bfloat16":
        return weight.bfloat16(), torch.ones(n_out)
    if weight_format == "int8" or not tiled:
        scales = weight.abs().amax(1) / 127
        values = (weight / nonzero(scales)[:, None]).round_().to(torch.int8)
        return panels(values) if tiled else values, scales
    groups = weight.view(n_out, -1, GROUP_SIZE)
    # the number of largest size becomes -8, so that all sixteen steps are used
    extreme = groups.gather(2, groups.abs().argmax(2, keepdim=True))
    scales = extreme / -8  # (n_out, n_in / 32, 1)
    numbers = (groups / nonzero(scales)).round_().clamp_(-8, 7).to(torch.int8)
    lower, upper = panels(numbers.view(n_out, n_in)).chunk(2, dim=2)  # of each panel the first and the last 8 rows
    values = (lower & 15 | upper << 4).view(torch.uint8).reshape(n_out // LANES, n_in // 2, LANES)
    return values, scales.view(-1, LANES, n_in // GROUP_SIZE).transpose(1, 2).contiguous()


def panels(values: torch.Tensor) -> torch.Tensor:
    """(n_out, n_in) as (n_out / 16, n_in / 2, 16, 2): for two columns the numbers of 16 rows."""
    n_out, n_in = values.shape
    return values.view(n_out // LANES, LANES, n_in // 2, 2).transpose(1, 2).contiguous()


def nonzero(scales: torch.Tensor) -> torch.Tensor:
    """The scales to divide by: 1 in place of 0, which is the scale of zeros alone."""
    return scales.masked_fill(scales == 0, 1.0)


def dequantize(values: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The weight (n_out, n_in) that was packed. A scale for each row is not applied: products are multiplied by it."""
    if values.dim() == 2:
        return values.to(dtype)
    n_out, n_in = LANES * values.size(0), 2 * values.size(1)
    if values.dtype == torch.uint8:
        signed = values.view(torch.int8).view(len(values), -1, LANES // 2, 2)
        values = torch.cat((signed << 4 >> 4, signed >> 4), dim=2)
    weight = values.transpose(1, 2).reshape(n_out, n_in).to(dtype)
    if scales.dim() == 1:
        return weight
    groups = scales.transpose(1, 2).reshape(n_out, -1, 1).to(dtype)
    return (weight.view(n_out, -1, GROUP_SIZE) * groups).view(n_out, n_in)


class QuantizedLinear(nn.Module):
    """A linear layer whose weight is stored in fewer bits; it is unpacked for each use, and multiplied in `dtype`."""

    values: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        weight_format: WeightFormat,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        values, scales = quantize_weight(weight.detach(), weight_format)
        self.register_buffer("values", values)
        self.register_buffer("scales", scales)
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.dtype = dtype

    def forward(self, x: torch.Tensor, gelu: bool = False) -> torch.Tensor:
        """x (..., n_in), through GELU first if asked -> (..., n_out) float32."""
        if gelu:
            x = F.gelu(x, approximate="tanh")
        y = quantized_matmul(x, self.values, self.scales, self.dtype)
        return y if self.bias is None else y.add_(self.bias)


def quantized_matmul(x: torch.Tensor, values: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """x (..., n_in) @ weight.T -> (..., n_out) float32: by the kernels for a few rows, else in `dtype` by torch."""
    n_rows, n_out = x.numel() // x.size(-1), len(values) * (1 if values.dim() == 2 else LANES)
    has_kernel = values.dim() > 2 or (values.dtype == torch.bfloat16 and is_tiled(values))
    if n_rows <= MAX_KERNEL_ROWS and has_kernel:
        y, rows = torch.empty(n_rows, n_out), x.reshape(n_rows, -1).float().contiguous()
        inputs = np.empty(rows.shape, np.float32 if values.dtype == torch.bfloat16 else np.int16)
        scales = scales[:, None] if scales.dim() == 1 else scales
        packed = as_numpy(values), as_numpy(scales), np.zeros(n_out, np.float32)
        cpu_dot.linear(as_numpy(rows), inputs, np.empty(n_rows, np.float32), *packed, as_numpy(y))
        return y.view(*x.shape[:-1], n_out)
    y = F.linear(pad_rows(x.reshape(n_rows, -1), dtype), dequantize(values, scales, dtype))[:n_rows].float()
    y = y.view(*x.shape[:-1], n_out)
    return y.mul_(scales) if scales.dim() == 1 else y


def pad_rows(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """x (rows, n) in dtype, with rows of zeros up to a multiple of ROW_MULTIPLE."""
    padded = x.new_zeros(-(-len(x) // ROW_MULTIPLE) * ROW_MULTIPLE, x.size(1), dtype=dtype)
    padded[: len(x)] = x
    return padded


class QuantizedEmbedding(QuantizedLinear):
    """The token embedding, which is the output head as well."""

    def forward(self, idx: torch.Tensor) -> torch.Tensor:
        """idx (B, T) -> (B, T, n_embd) float32."""
        idx, shape = idx.flatten(), idx.shape
        tiled = self.values.dim() > 2
        rows = self.values[idx // LANES, :, idx % LANES].flatten(1) if tiled else self.values[idx]
        return (rows.float() * self.scales[idx, None]).view(*shape, -1)

    def head(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (..., rows of the embedding) of normed hidden states (..., n_embd)."""
        if x.numel() // x.size(-1) <= MAX_KERNEL_ROWS:
            return quantized_matmul(x, self.values, self.scales, self.dtype)
        n_rows = HEAD_ROWS_PER_PIECE // (1 if self.values.dim() == 2 else LANES)
        pieces = zip(self.values.split(n_rows), self.scales.split(HEAD_ROWS_PER_PIECE), strict=True)
        return torch.cat([quantized_matmul(x, *piece, dtype=self.dtype) for piece in pieces], dim=-1)


def quantize_model(model: GPT, weight_format: WeightFormat, dtype: torch.dtype = torch.float32) -> GPT:
    """
    The model, changed in place: its matrices are stored in the format, and it can only generate. int4 keeps the
    embedding in int8. dtype: of the products for many tokens at once.
    """
    for block in model.transformer.h:
        for layer, names in ((block.attn, ("c_attn", "c_proj")), (block.mlp, ("c_fc", "c_proj"))):
            for name in names:
                linear = getattr(layer, name)
                if not isinstance(linear, QuantizedLinear):  # model_folder.load may have packed it while it read it
                    setattr(layer, name, QuantizedLinear(linear.weight, linear.bias, weight_format, dtype))
    embedding_format = "int8" if weight_format == "int4" else weight_format
    wte = model.transformer.wte.weight
    model.transformer.add_module("wte", QuantizedEmbedding(wte, None, embedding_format, dtype))
    return model.requires_grad_(False)


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    """The tensor as an array on the same memory; bfloat16, which numpy lacks, as the uint16 of its bits."""
    tensor = tensor.detach()
    return tensor.view(torch.int16).numpy().view(np.uint16) if tensor.dtype == torch.bfloat16 else tensor.numpy()
