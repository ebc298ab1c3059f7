"""Decoding on a CPU by the kernels of ops/cpu_block.py, and by torch for a crowd."""

import contextlib

import numba
import numpy as np
import torch
from torch.nn import functional as F

from inference.quantize import (
    ROW_MULTIPLE,
    QuantizedEmbedding,
    QuantizedLinear,
    as_numpy,
    dequantize,
    pad_rows,
    quantize_model,
)
from model import GPT, GPTConfig, KVCache
from ops import cpu_block
from ops.cpu_block import GROUP_SIZE
from ops.simd import LANES


def compile_kernels(format):
    """Have numba compile the kernels for this format, seconds that loading can share, or fetch them from its cache."""
    numba.config.OPT = type(numba.config.OPT)(2)  # 4.0 s instead of 4.6 s for kernels that are as fast
    tiny = quantize_model(GPT(GPTConfig(block_size=8, vocab_size=64, n_layer=1, n_head=2, n_embd=GROUP_SIZE)), format)
    CPUDecoder(tiny)([0], [0], [0], KVCache(tiny.config, dtype=cache_dtype(tiny)), [0])


def cache_dtype(model):
    """What keys and values are kept in: beside packed weights bfloat16."""
    packed = isinstance(model.transformer.wte, QuantizedEmbedding)
    return torch.bfloat16 if packed else model.transformer.wpe.weight.dtype


class CPUDecoder:
    """The forward pass of a model on the CPU for a few tokens at once: what model(idx, cache=cache) does, sooner."""

    WIDE = 8  # tokens; beyond it torch's products in bfloat16 are faster than the kernels'

    def __init__(self, model):
        self.wide = None
        numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
        self.model = model
        self.layers = [
            (norm_arrays(block.ln_1), linear_arrays(block.attn.c_attn), linear_arrays(block.attn.c_proj))
            + (norm_arrays(block.ln_2), linear_arrays(block.mlp.c_fc), linear_arrays(block.mlp.c_proj))
            for block in model.transformer.h
        ]
        self.ln_f = norm_arrays(model.transformer.ln_f)
        self.head = linear_arrays(model.transformer.wte)
        matrices = [part for layer in self.layers for part in layer if len(part) == 3] + [self.head]
        self.bytes = sum(values.nbytes + scales.nbytes for values, scales, _ in matrices)  # that a token reads

    @staticmethod
    def fits(model):
        """Whether the kernels can compute this model: on a CPU, its shape a multiple of theirs, no float16."""
        config, weight = model.config, model.transformer.wpe.weight
        shaped = config.n_embd % GROUP_SIZE == 0 and config.n_embd // config.n_head % LANES == 0
        return shaped and weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16)

    @torch.inference_mode()
    def __call__(self, ids, slots, places, cache, wanted):
        """
        Logits (len(wanted), n_vocab) after those of the tokens `ids` that `wanted` numbers. Token i stands at
        places[i] of row slots[i] of the cache, which must hold what is before it, or get it in this call.
        """
        wide = len(ids) > CPUDecoder.WIDE and self.wide
        x = (self.model.transformer.wte(torch.tensor(ids)) + self.model.transformer.wpe(torch.tensor(places))).float()
        # torch's memory begins at a multiple of 64 bytes: a vector of the widest kind never straddles two cache lines
        room = [as_numpy(torch.empty(len(ids), n * x.size(1))) for n in (1, 3, 4)]
        slots, places, keys, values = np.array(slots), np.array(places), as_numpy(cache.k), as_numpy(cache.v)
        for layer, parts in enumerate(self.layers):
            if wide:
                self.block(x, slots, places, parts, self.wide[layer], keys[layer], values[layer])
            else:
                cpu_block.block(as_numpy(x), slots, places, *parts, keys[layer], values[layer], *room)
        return self.logits(x[wanted])

    def widen(self):
        """
        From here on more than WIDE tokens at once are multiplied in bfloat16 by torch, three times as fast as one by
        one: for packed weights, on a CPU that is fast in it, else nothing changes; whether that is so. They are kept in
        bfloat16 as well, 2 bytes each.
        """
        wte = self.model.transformer.wte
        if not isinstance(wte, QuantizedEmbedding) or wte.dtype != torch.bfloat16:
            return False
        blocks = self.model.transformer.h
        self.wide = [
            [BFloat16Matmul(each) for each in (b.attn.c_attn, b.attn.c_proj, b.mlp.c_fc, b.mlp.c_proj)] for b in blocks
        ]
        self.wide_head = BFloat16Matmul(wte)
        config, none = self.model.config, np.zeros(0, np.int64)
        cache, y = KVCache(config, 1, dtype=cache_dtype(self.model)), np.zeros((0, config.n_embd), np.float32)
        qkv = np.zeros((0, 3 * config.n_embd), np.float32)
        cpu_block.write_kv_and_attend(qkv, none, none, as_numpy(cache.k)[0], as_numpy(cache.v)[0], y)  # compiled now
        return True

    def block(self, x, slots, places, parts, wide, keys, values):
        """kernels.block with torch's products."""
        ln_1, _, _, ln_2, _, _ = parts
        attn, attn_proj, fc, fc_proj = wide
        y = torch.empty_like(x)
        cpu_block.layer_norm(as_numpy(x), *ln_1, as_numpy(y))
        cpu_block.write_kv_and_attend(as_numpy(attn(y)), slots, places, keys, values, as_numpy(y))
        x += attn_proj(y)
        cpu_block.layer_norm(as_numpy(x), *ln_2, as_numpy(y))
        x += fc_proj(F.gelu(fc(y), approximate="tanh"))

    def logits(self, x):
        """Logits (rows, n_vocab) of the last block's states, (rows, n_embd)."""
        y, logits = torch.empty_like(x), torch.empty(len(x), len(self.head[0]))
        cpu_block.layer_norm(as_numpy(x), *self.ln_f, as_numpy(y))
        if len(x) > CPUDecoder.WIDE and self.wide:
            logits = self.wide_head(y)
        else:
            cpu_block.linear(as_numpy(y), *self.head, as_numpy(logits), False)
        return logits[:, : self.model.config.vocab_size]


class BFloat16Matmul:
    """A packed layer whose numbers are kept in bfloat16, which holds those of int8 exactly."""

    def __init__(self, layer):
        self.weight, self.product = dequantize(layer.values, layer.scales, torch.bfloat16), F.linear
        self.scales = layer.scales if layer.scales.dim() == 1 else None
        self.bias = layer.bias
        with contextlib.suppress(AttributeError, RuntimeError):  # a build of torch without oneDNN
            self.weight = torch.ops.mkldnn._reorder_linear_weight(
                self.weight, 2 * ROW_MULTIPLE
            )  # else anew for each product
            self.product = onednn_linear

    def __call__(self, x):
        """(rows, n_in) float32 -> (rows, n_out) float32."""
        y = self.product(pad_rows(x, torch.bfloat16), self.weight)[: len(x)].float()
        if self.scales is not None:
            y.mul_(self.scales)
        return y if self.bias is None else y.add_(self.bias)


def onednn_linear(x, weight):
    """F.linear of a weight in the order that oneDNN reads: the operator that torch.compile uses in its place."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")


def norm_arrays(layer):
    return as_numpy(layer.weight.float()), as_numpy(layer.bias.float())


def linear_arrays(layer):
    """(values, scales, bias) of a layer, packed or not, or of an embedding."""
    if isinstance(layer, QuantizedLinear):
        values, scales = layer.values, layer.scales
    else:
        values, scales = layer.weight, torch.ones(len(layer.weight))
    bias = getattr(layer, "bias", None)
    return as_numpy(values), as_numpy(scales), as_numpy(torch.zeros(len(values)) if bias is None else bias.float())
