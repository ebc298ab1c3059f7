"""
Weights in fewer bits for a CPU, where a reply waits for the weights to come from memory: bfloat16, int8 with a scale a
row, int4 with a scale for each 32. Sums are taken in float32; biases, norms and positions stay as they are.

    quantize(model, "int8")                       # in place
    logits = Decoder(model)(ids, slots, places, cache, [0])     # a few tokens, by kernels.py
"""

import contextlib

import numba
import numpy as np
import torch
import torch.nn as nn
from torch.nn import functional as F

import kernels
from kernels import STEP
from lanes import LANES
from model import GPT, GPTConfig, KVCache

FORMATS = ("bfloat16", "int8", "int4")
ROWS = 4096  # of a large matrix that are unpacked at once
EVEN = 16  # oneDNN never forgets the code it made for a number of rows: serving would grow by megabytes a second
PACKED = 32  # rows that are packed at once: freed memory of larger pieces stays with the process


def packed(weight, format):
    """(values, scales) of a weight (n_out, n_in), as kernels.py has them."""
    parts = [pack(rows.float(), format) for rows in weight.split(PACKED)]
    return tuple(torch.cat(each) for each in zip(*parts, strict=True))


def pack(weight, format):
    n_out, n_in = weight.shape
    if format == "bfloat16":
        return weight.bfloat16(), torch.ones(n_out)
    if format == "int8" or n_in % STEP:
        scales = weight.abs().amax(1) / 127
        return (weight / nonzero(scales)[:, None]).round_().to(torch.int8), scales
    groups = weight.view(n_out, -1, 2, LANES)
    # the number of largest size becomes -8, so that all sixteen steps are used
    extreme = groups.flatten(2).gather(2, groups.abs().flatten(2).argmax(2, keepdim=True))
    scales = extreme / -8
    numbers = (groups / nonzero(scales)[..., None]).round_().clamp_(-8, 7).to(torch.int8)
    lower, upper = numbers[:, :, 0], numbers[:, :, 1]
    return (lower & 15 | upper << 4).view(torch.uint8).reshape(n_out, -1), scales.squeeze(2)


def nonzero(scales):
    return scales.masked_fill(scales == 0, 1.0)


def unpacked(values, scales, dtype=torch.float32):
    """The weight that (values, scales) stand for, but for a scale a row."""
    if values.dtype != torch.uint8:
        return values.to(dtype)
    signed = values.view(torch.int8).view(len(values), -1, 1, LANES)
    halves = torch.cat((signed << 4 >> 4, signed >> 4), dim=2)
    return (halves.to(dtype) * scales.to(dtype)[:, :, None, None]).view(len(values), -1)


class Packed(nn.Module):
    """A linear layer whose weight is kept in fewer bits; unpacked for each use, and multiplied in `dtype`."""

    def __init__(self, weight, bias, format, dtype):
        super().__init__()
        values, scales = packed(weight.detach(), format)
        self.register_buffer("values", values)
        self.register_buffer("scales", scales)
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.dtype = dtype

    def forward(self, x, gelu=False):
        if gelu:
            x = F.gelu(x, approximate="tanh")
        y = product(x, self.values, self.scales, self.dtype)
        return y if self.bias is None else y.add_(self.bias)


def product(x, values, scales, dtype):
    """x @ weight.T, float32: for a few rows by the kernels, else in `dtype`."""
    rows = x.numel() // x.size(-1)
    if rows <= Decoder.MOST and x.size(-1) % STEP == 0:
        x, y = x.reshape(rows, -1).float().contiguous(), torch.empty(*x.shape[:-1], len(values))
        parts = array(x), array(values), array(scales), np.zeros(len(values), np.float32), array(y.view(rows, -1))
        kernels.linear(*parts, False)
        return y
    y = F.linear(even(x.reshape(rows, -1), dtype), unpacked(values, scales, dtype))[:rows].float()
    y = y.view(*x.shape[:-1], -1)
    return y.mul_(scales) if scales.dim() == 1 else y


def even(x, dtype):
    """x (rows, n) in dtype, with rows of zeros up to a multiple of EVEN."""
    found = x.new_zeros(-(-len(x) // EVEN) * EVEN, x.size(1), dtype=dtype)
    found[: len(x)] = x
    return found


class PackedEmbedding(Packed):
    """The embedding, which is the head as well."""

    def forward(self, idx):
        values, scales = self.values[idx.flatten()], self.scales[idx.flatten()]
        rows = unpacked(values, scales) * (scales[:, None] if scales.dim() == 1 else 1)
        return rows.view(*idx.shape, -1)

    def head(self, x):
        """Logits (..., rows) of final states."""
        if x.numel() // x.size(-1) <= Decoder.MOST:
            return product(x, self.values, self.scales, self.dtype)
        parts = zip(self.values.split(ROWS), self.scales.split(ROWS), strict=True)  # unpacked, all would be large
        return torch.cat([product(x, *part, self.dtype) for part in parts], dim=-1)


def quantize(model, format, dtype=torch.float32):
    """
    The model with its matrices in `format`, in place, for generating only. int4 keeps the embedding in int8.
    dtype: of the products for many tokens at once.
    """
    for block in model.transformer.h:
        for layer, names in ((block.attn, ("c_attn", "c_proj")), (block.mlp, ("c_fc", "c_proj"))):
            for name in names:
                linear = getattr(layer, name)
                if not isinstance(linear, Packed):  # checkpoint.load packs while it reads
                    setattr(layer, name, Packed(linear.weight, linear.bias, format, dtype))
    wte = model.transformer.wte.weight
    model.transformer.wte = PackedEmbedding(wte, None, "int8" if format == "int4" else format, dtype)
    return model.requires_grad_(False)


def compile_kernels(format):
    """Have numba compile the kernels for this format, seconds that loading can share, or fetch them from its cache."""
    numba.config.OPT = type(numba.config.OPT)(2)  # 4.0 s instead of 4.6 s for kernels that are as fast
    tiny = quantize(GPT(GPTConfig(block_size=8, vocab_size=64, n_layer=1, n_head=2, n_embd=STEP)), format)
    Decoder(tiny)([0], [0], [0], KVCache(tiny.config, dtype=cache_dtype(tiny)), [0])


def cache_dtype(model):
    """What keys and values are kept in: beside packed weights bfloat16."""
    packed = isinstance(model.transformer.wte, PackedEmbedding)
    return torch.bfloat16 if packed else model.transformer.wpe.weight.dtype


class Decoder:
    """The forward pass of a model on the CPU for a few tokens at once: what model(idx, cache=cache) does, sooner."""

    MOST = 32  # tokens; beyond it the model's own matrix products are faster

    WIDE = 8  # tokens; beyond it torch's products in bfloat16 are faster than the kernels'

    def __init__(self, model):
        self.wide = None
        numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
        self.model = model
        self.layers = [
            (norm(block.ln_1), linear(block.attn.c_attn), linear(block.attn.c_proj))
            + (norm(block.ln_2), linear(block.mlp.c_fc), linear(block.mlp.c_proj))
            for block in model.transformer.h
        ]
        self.ln_f = norm(model.transformer.ln_f)
        self.head = linear(model.transformer.wte)
        matrices = [part for layer in self.layers for part in layer if len(part) == 3] + [self.head]
        self.bytes = sum(values.nbytes + scales.nbytes for values, scales, _ in matrices)  # that a token reads

    @staticmethod
    def fits(model):
        """Whether the kernels can compute this model: on a CPU, its shape a multiple of theirs, no float16."""
        config, weight = model.config, model.transformer.wpe.weight
        shaped = config.n_embd % STEP == 0 and config.n_embd // config.n_head % LANES == 0
        return shaped and weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16)

    @torch.inference_mode()
    def __call__(self, ids, slots, places, cache, wanted):
        """
        Logits (len(wanted), n_vocab) after those of the tokens `ids` that `wanted` numbers. Token i stands at
        places[i] of row slots[i] of the cache, which must hold what is before it, or get it in this call.
        """
        wide = len(ids) > Decoder.WIDE and self.wide
        x = (self.model.transformer.wte(torch.tensor(ids)) + self.model.transformer.wpe(torch.tensor(places))).float()
        # torch's memory begins at a multiple of 64 bytes: a vector of the widest kind never straddles two cache lines
        room = [array(torch.empty(len(ids), n * x.size(1))) for n in (1, 3, 4)]
        slots, places, keys, values = np.array(slots), np.array(places), array(cache.k), array(cache.v)
        for layer, parts in enumerate(self.layers):
            if wide:
                self.block(x, slots, places, parts, self.wide[layer], keys[layer], values[layer])
            else:
                kernels.block(array(x), slots, places, *parts, keys[layer], values[layer], *room)
        return self.logits(x[wanted])

    def widen(self):
        """
        From here on more than WIDE tokens at once are multiplied in bfloat16 by torch, three times as fast as one by
        one: for packed weights, on a CPU that is fast in it, else nothing changes; whether that is so. They are kept in
        bfloat16 as well, 2 bytes each.
        """
        wte = self.model.transformer.wte
        if not isinstance(wte, PackedEmbedding) or wte.dtype != torch.bfloat16:
            return False
        blocks = self.model.transformer.h
        self.wide = [[Wide(each) for each in (b.attn.c_attn, b.attn.c_proj, b.mlp.c_fc, b.mlp.c_proj)] for b in blocks]
        self.wide_head = Wide(wte)
        config, none = self.model.config, np.zeros(0, np.int64)
        cache, y = KVCache(config, 1, dtype=cache_dtype(self.model)), np.zeros((0, config.n_embd), np.float32)
        qkv = np.zeros((0, 3 * config.n_embd), np.float32)
        kernels.attended(qkv, none, none, array(cache.k)[0], array(cache.v)[0], y)  # compiled now
        return True

    def block(self, x, slots, places, parts, wide, keys, values):
        """kernels.block with torch's products."""
        ln_1, _, _, ln_2, _, _ = parts
        attn, attn_proj, fc, fc_proj = wide
        y = torch.empty_like(x)
        kernels.layer_norm(array(x), *ln_1, array(y))
        kernels.attended(array(attn(y)), slots, places, keys, values, array(y))
        x += attn_proj(y)
        kernels.layer_norm(array(x), *ln_2, array(y))
        x += fc_proj(F.gelu(fc(y), approximate="tanh"))

    def logits(self, x):
        """Logits (rows, n_vocab) of the last block's states, (rows, n_embd)."""
        y, logits = torch.empty_like(x), torch.empty(len(x), len(self.head[0]))
        kernels.layer_norm(array(x), *self.ln_f, array(y))
        if len(x) > Decoder.WIDE and self.wide:
            logits = self.wide_head(y)
        else:
            kernels.linear(array(y), *self.head, array(logits), False)
        return logits[:, : self.model.config.vocab_size]


class Wide:
    """A packed layer whose numbers are kept in bfloat16, which holds those of int8 exactly."""

    def __init__(self, layer):
        self.weight, self.product = unpacked(layer.values, layer.scales, torch.bfloat16), F.linear
        self.scales = layer.scales if layer.scales.dim() == 1 else None
        self.bias = layer.bias
        with contextlib.suppress(AttributeError, RuntimeError):  # a build of torch without oneDNN
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, 2 * EVEN)  # else anew for each product
            self.product = onednn

    def __call__(self, x):
        """(rows, n_in) float32 -> (rows, n_out) float32."""
        y = self.product(even(x, torch.bfloat16), self.weight)[: len(x)].float()
        if self.scales is not None:
            y.mul_(self.scales)
        return y if self.bias is None else y.add_(self.bias)


def onednn(x, weight):
    """F.linear of a weight in the order that oneDNN reads: the operator that torch.compile uses in its place."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")


def array(tensor):
    """A tensor's memory as numpy has it, bfloat16 as uint16."""
    tensor = tensor.detach()
    return tensor.view(torch.int16).numpy().view(np.uint16) if tensor.dtype == torch.bfloat16 else tensor.numpy()


def norm(layer):
    return array(layer.weight.float()), array(layer.bias.float())


def linear(layer):
    """(values, scales, bias) of a layer, packed or not, or of an embedding."""
    if isinstance(layer, Packed):
        values, scales = layer.values, layer.scales
    else:
        values, scales = layer.weight, torch.ones(len(layer.weight))
    bias = getattr(layer, "bias", None)
    return array(values), array(scales), array(torch.zeros(len(values)) if bias is None else bias.float())
