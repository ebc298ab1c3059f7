"""The forward pass of generation on a CPU: by the kernels of ops/cpu_block.py, or by torch where tokens are many."""

import contextlib
from typing import cast

import numba
import numpy as np
import torch
import torch.nn as nn
from numba.core import config as numba_config
from torch.nn import functional as F

from inference.kernel_threads import KernelThreads
from inference.quantize import (
    MAX_KERNEL_ROWS,
    ROW_MULTIPLE,
    QuantizedEmbedding,
    QuantizedLinear,
    WeightFormat,
    as_numpy,
    dequantize,
    pad_rows,
    quantize_model,
)
from model import GPT, Block, GPTConfig, KVCache
from ops import cpu_block
from ops.cpu_block import GROUP_SIZE
from ops.simd import LANES


def configure_numba() -> None:
    """
    Set what numba keeps for the whole process, or for the thread that calls this: kernels are compiled at level 2,
    in 4.0 s instead of 4.6 s and as fast, and run in as many threads as torch has.
    """
    numba_config.OPT = type(numba_config.OPT)(2)  # pyright: ignore[reportAttributeAccessIssue] - set when it is imported
    most = numba_config.NUMBA_NUM_THREADS  # pyright: ignore[reportAttributeAccessIssue] - likewise
    numba.set_num_threads(min(torch.get_num_threads(), most))


def compile_kernels(weight_format: WeightFormat) -> None:
    """Compile the kernels for this format, which takes seconds, or read them from numba's cache, by using them once."""
    config = GPTConfig(block_size=8, vocab_size=64, n_layer=1, n_head=2, n_embd=GROUP_SIZE)
    tiny = quantize_model(GPT(config), weight_format)
    CPUDecoder(tiny)([0], [0], [0], KVCache(config, dtype=cache_dtype(tiny)), [0])


def cache_dtype(model: GPT) -> torch.dtype:
    """The dtype of the KV cache: bfloat16 beside packed weights, else the model's own."""
    packed = isinstance(model.transformer.wte, QuantizedEmbedding)
    return torch.bfloat16 if packed else model.transformer.wpe.weight.dtype


class CPUDecoder:
    """
    The forward pass for a few tokens on a CPU: what model(idx, cache=cache) computes, faster. See `fits`. Its thread is
    the one that makes it: configure_numba is called.
    """

    WIDE = 8  # tokens; more at once are faster by torch in bfloat16 than by the kernels
    MAX_ROWS = MAX_KERNEL_ROWS  # tokens of one sequence; for more the model itself is faster

    def __init__(self, model: GPT) -> None:
        configure_numba()
        self.threads = KernelThreads(numba.get_num_threads())
        self.model, self.cache_dtype = model, cache_dtype(model)
        self.blocks = cast(list[Block], list(model.transformer.h))
        self.layers = [
            (norm_arrays(block.ln_1), linear_arrays(block.attn.c_attn), linear_arrays(block.attn.c_proj))
            + (norm_arrays(block.ln_2), linear_arrays(block.mlp.c_fc), linear_arrays(block.mlp.c_proj))
            for block in self.blocks
        ]  # in the order of cpu_block.block's parameters
        self.ln_f = norm_arrays(model.transformer.ln_f)
        self.head = linear_arrays(model.transformer.wte)
        matrices = [part for layer in self.layers for part in layer if len(part) == 3] + [self.head]
        self.bytes = sum(values.nbytes + scales.nbytes for values, scales, _ in matrices)  # read for each token
        # set by `widen`: for each layer c_attn, attn.c_proj, c_fc, mlp.c_proj; and the head
        self.wide_layers: list[list[BFloat16Matmul]] = []
        self.wide_head: BFloat16Matmul | None = None

    @staticmethod
    def fits(model: GPT) -> bool:
        """Whether the kernels can compute this model: plain, on a CPU, not in float16, of a width that they handle."""
        config, weight = model.config, model.transformer.wpe.weight
        shaped = config.n_embd % GROUP_SIZE == 0 and config.n_embd // config.n_head % LANES == 0
        placed = weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16)
        return config.is_plain and shaped and placed

    @torch.inference_mode()
    def __call__(
        self, ids: list[int], slots: list[int], positions: list[int], cache: KVCache, last: list[int]
    ) -> torch.Tensor:
        """
        Logits (len(last), n_vocab), float32, of the tokens whose indices in `ids` are in `last`.
        Token ids[i] is at positions[i] of row slots[i] of the cache, where its keys and values are written. The
        positions before it must be filled already, or by tokens of this call.
        """
        wide = bool(self.wide_layers) and len(ids) > CPUDecoder.WIDE
        wte, wpe = self.model.transformer.wte, self.model.transformer.wpe
        x = (wte(torch.tensor(ids)) + wpe(torch.tensor(positions))).float()  # (rows, n_embd)
        # cpu_block.block's scratch arrays. torch's memory begins at a multiple of 64 bytes: a vector of the widest kind
        # never straddles two cache lines
        scratch = [as_numpy(torch.empty(len(ids), n * x.size(1))) for n in (1, 3, 4)]
        slot_array, position_array, keys, values = (
            np.array(slots),
            np.array(positions),
            as_numpy(cache.k),
            as_numpy(cache.v),
        )
        with contextlib.nullcontext() if wide else self.threads.timed(len(ids)):
            for layer, arrays in enumerate(self.layers):
                if wide:
                    self.wide_block(x, slot_array, position_array, layer, keys[layer], values[layer])
                else:
                    cpu_block.block(
                        as_numpy(x), slot_array, position_array, *arrays, keys[layer], values[layer], *scratch
                    )
            return self.logits(x[last])

    def widen(self) -> bool:
        """
        Compute more than WIDE tokens at once in bfloat16 by torch from now on, three times as fast as one by one. It
        takes a second copy of the weights, 2 bytes each. Done only for packed weights on a CPU that is fast in
        bfloat16; returns whether it was.
        """
        wte = self.model.transformer.wte
        if not isinstance(wte, QuantizedEmbedding) or wte.dtype != torch.bfloat16:
            return False
        self.wide_layers = [
            [BFloat16Matmul(linear) for linear in (b.attn.c_attn, b.attn.c_proj, b.mlp.c_fc, b.mlp.c_proj)]
            for b in self.blocks
        ]
        self.wide_head = BFloat16Matmul(wte)
        # compile write_kv_and_attend now, by a call with no rows
        config, no_rows = self.model.config, np.zeros(0, np.int64)
        cache, y = KVCache(config, 1, dtype=cache_dtype(self.model)), np.zeros((0, config.n_embd), np.float32)
        qkv = np.zeros((0, 3 * config.n_embd), np.float32)
        cpu_block.write_kv_and_attend(qkv, no_rows, no_rows, as_numpy(cache.k)[0], as_numpy(cache.v)[0], y)
        return True

    def wide_block(
        self,
        x: torch.Tensor,
        slots: np.ndarray,
        positions: np.ndarray,
        layer: int,
        keys: np.ndarray,
        values: np.ndarray,
    ) -> None:
        """
        cpu_block.block with torch's matrix products: x (rows, n_embd) after one block, in place. keys and values:
        the layer's, (slots, n_head, block_size, head_size).
        """
        ln_1, _, _, ln_2, _, _ = self.layers[layer]
        attn, attn_proj, fc, fc_proj = self.wide_layers[layer]
        y = torch.empty_like(x)
        cpu_block.layer_norm(as_numpy(x), *ln_1, as_numpy(y))
        cpu_block.write_kv_and_attend(as_numpy(attn(y)), slots, positions, keys, values, as_numpy(y))
        x += attn_proj(y)
        cpu_block.layer_norm(as_numpy(x), *ln_2, as_numpy(y))
        x += fc_proj(F.gelu(fc(y), approximate="tanh"))

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (rows, n_vocab) of the last block's hidden states (rows, n_embd)."""
        y = torch.empty_like(x)
        cpu_block.layer_norm(as_numpy(x), *self.ln_f, as_numpy(y))
        if self.wide_head and len(x) > CPUDecoder.WIDE:
            logits = self.wide_head(y)
        else:
            logits = torch.empty(len(x), len(self.head[0]))
            cpu_block.linear(as_numpy(y), *self.head, as_numpy(logits), accumulate=False)
        return logits[:, : self.model.config.vocab_size]


class BFloat16Matmul:
    """A packed layer's matrix product with the numbers unpacked to bfloat16, which holds those of int8 exactly."""

    def __init__(self, layer: nn.Module) -> None:
        assert isinstance(layer, QuantizedLinear)
        self.weight, self.product = dequantize(layer.values, layer.scales, torch.bfloat16), F.linear
        self.scales = layer.scales if layer.scales.dim() == 1 else None
        self.bias = layer.bias
        with contextlib.suppress(AttributeError, RuntimeError):  # a build of torch without oneDNN
            # in the order that oneDNN reads, once: else each product would reorder it
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, 2 * ROW_MULTIPLE)
            self.product = onednn_linear

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x (rows, n_in) -> (rows, n_out), float32."""
        y = self.product(pad_rows(x, torch.bfloat16), self.weight)[: len(x)].float()
        if self.scales is not None:
            y.mul_(self.scales)
        return y if self.bias is None else y.add_(self.bias)


def onednn_linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """F.linear of a weight in the order that oneDNN reads: the operator that torch.compile uses in its place."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")


def norm_arrays(layer: nn.LayerNorm) -> tuple[np.ndarray, np.ndarray]:
    """(weight, bias) of a layer norm, (n_embd,) float32 each."""
    return as_numpy(layer.weight.float()), as_numpy(layer.bias.float())


def linear_arrays(layer: nn.Module) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(values, scales, bias) of a linear layer or an embedding, as ops/cpu_block.py reads them; packed or not."""
    if isinstance(layer, QuantizedLinear):
        values, scales, bias = layer.values, layer.scales, layer.bias
    else:
        values, bias = layer.get_parameter("weight"), getattr(layer, "bias", None)
        scales = torch.ones(len(values))
    return as_numpy(values), as_numpy(scales), as_numpy(torch.zeros(len(values)) if bias is None else bias.float())
