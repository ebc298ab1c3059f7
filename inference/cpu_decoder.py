"""The forward pass of generation on a CPU: by the kernels of ops/cpu_step.py, or by torch where tokens are many."""

import contextlib
from collections.abc import Iterable
from typing import cast

import numpy as np
import torch
import torch.nn as nn
from numba.core import config as numba_config
from torch.nn import functional as F

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
from ops import cpu_block, cpu_step
from ops.cpu_dot import GROUP_SIZE
from ops.crew import MAX_HELPERS, STOP, Crew, new_state
from ops.simd import LANES

BYTES_A_THREAD = 2**21  # of weights: with less for each, threads cost more than they bring


def compile_kernels(weight_format: WeightFormat) -> None:
    """Compile the kernels for this format, which takes seconds, or read them from numba's cache, by using them once."""
    config = GPTConfig(block_size=8, vocab_size=64, n_layer=1, n_head=2, n_embd=GROUP_SIZE)
    tiny = quantize_model(GPT(config), weight_format)
    decoder = CPUDecoder(tiny)
    decoder([0], [0], [0], KVCache(config, dtype=cache_dtype(tiny)), [0])
    decoder.state[STOP] = 1
    cpu_step.help(decoder.state, decoder.step, decoder.kinds, 0)  # ends at once


def cache_dtype(model: GPT) -> torch.dtype:
    """The dtype of the KV cache: bfloat16 beside packed weights, else the model's own."""
    packed = isinstance(model.transformer.wte, QuantizedEmbedding)
    return torch.bfloat16 if packed else model.transformer.wpe.weight.dtype


class CPUDecoder:
    """
    The forward pass for a few tokens on a CPU: what model(idx, cache=cache) computes, faster. See `fits`. It is for one
    thread at a time, which as many others help as torch has beside it.
    """

    WIDE = 8  # tokens; more at once are faster by torch in bfloat16 than by the kernels
    SMALL = 2**25  # bytes of weights; up to so many, torch takes longer to unpack them than to multiply
    ROWS = 64  # tokens that are computed at once: what more of them make would not stay in a core's cache

    def __init__(self, model: GPT) -> None:
        # level 2 compiles sooner, to code as fast
        level = type(numba_config.OPT)(2)  # pyright: ignore[reportAttributeAccessIssue] - set when it is imported
        numba_config.OPT = level  # pyright: ignore[reportAttributeAccessIssue]
        self.model, self.cache_dtype = model, cache_dtype(model)
        self.blocks = cast(list[Block], list(model.transformer.h))
        self.norms = [(norm_arrays(block.ln_1), norm_arrays(block.ln_2)) for block in self.blocks]
        # for each layer, in the order of cpu_step's phases, (values, scales, bias); they live as their addresses do
        self.matrices = [
            [linear_arrays(each) for each in (b.attn.c_attn, b.attn.c_proj, b.mlp.c_fc, b.mlp.c_proj)]
            for b in self.blocks
        ]
        self.layers = np.array(
            [
                addresses(array for group in (*matrices, *norms) for array in group)
                for matrices, norms in zip(self.matrices, self.norms, strict=True)
            ]
        )
        self.final_norm = norm_arrays(model.transformer.ln_f)
        self.head = linear_arrays(model.transformer.wte)
        self.n_rows = model.config.n_rows  # of the embedding
        self.positions_table = as_numpy(model.transformer.wpe.weight.float())
        read = [matrix for matrices in self.matrices for matrix in matrices] + [self.head]
        self.bytes = sum(values.nbytes + scales.nbytes for values, scales, _ in read)  # read for each token
        # tokens of one sequence; for more the model itself is faster
        self.has_tiles = self.matrices[0][0][0].dtype in (np.int8, np.uint8)
        is_fast = getattr(model.transformer.wte, "dtype", torch.float32) == torch.bfloat16 and self.bytes > self.SMALL
        self.max_rows = model.config.block_size if self.has_tiles and not is_fast else MAX_KERNEL_ROWS
        self.n_helpers = min(torch.get_num_threads() - 1, self.bytes // BYTES_A_THREAD, MAX_HELPERS)
        # made by `room`
        self.slots = np.zeros(0, np.int64)
        self.cache: KVCache | None = None
        self.crew: Crew | None = None
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

    def room(self, rows: int, cache: KVCache) -> None:
        """Room for so many tokens, and this cache, in `step`. Where it has to be made anew, the helpers are as well."""
        if cache is self.cache and rows <= len(self.slots):
            return
        if self.crew:
            self.crew.stop()
        config, R, n = self.model.config, max(rows, self.ROWS), 1 + self.n_helpers
        C, part_size = config.n_embd, R * max(4 * config.n_embd, self.n_rows)
        self.slots, self.positions = np.zeros((2, R), np.int64)
        self.qkv, self.heads = aligned(R, 3 * C), aligned(R, C)
        self.scratch = [  # in the order of cpu_step's addresses
            aligned(R, C),
            self.heads,
            self.qkv,
            aligned(R, 4 * C),
            as_numpy(torch.empty(R * 4 * C, dtype=torch.int16 if self.has_tiles else torch.float32)),
            aligned(R),
            aligned(n, part_size),
            *np.zeros((2, cpu_step.MAX_BLOCKS + R), np.int64),
            self.slots,
            self.positions,
            as_numpy(cache.k),
            as_numpy(cache.v),
            *self.head,
            self.positions_table,
            *self.final_norm,
        ]
        assert cpu_step.NORM + 2 == cpu_step.X + len(self.scratch)
        self.cache, self.step = cache, np.zeros(cpu_step.LAYERS + self.layers.size, np.int64)
        sizes = len(self.layers), C, config.n_head, self.n_rows, config.block_size, cache.k.size(1), n, part_size
        self.step[: cpu_step.X] = sizes
        self.step[cpu_step.X : cpu_step.NORM + 2] = addresses(self.scratch)
        self.step[cpu_step.LAYERS :] = self.layers.ravel()
        matrix, keys, inputs = self.matrices[0][0][0], as_numpy(cache.k), self.scratch[4]
        self.kinds = tuple(array.dtype.type(0) for array in (matrix, self.head[0], keys, inputs))
        self.state = new_state(self.n_helpers)
        arguments, keeps = (self.state, self.step, self.kinds), (self.matrices, self.norms, self.scratch)
        self.crew = Crew(self.n_helpers, cpu_step.help, self.state, arguments, keeps) if self.n_helpers else None

    @torch.inference_mode()
    def __call__(
        self, ids: list[int], slots: list[int], positions: list[int], cache: KVCache, last: list[int]
    ) -> torch.Tensor:
        """
        Logits (len(last), n_vocab), float32, of the tokens whose indices in `ids` are in `last`, in rising order.
        Token ids[i] is at positions[i] of row slots[i] of the cache, where its keys and values are written. The
        positions before it must be filled already, or by tokens of this call. Raises IndexError, as torch does, where
        there is no such token or place.
        """
        n_vocab, block_size = self.n_rows, self.model.config.block_size
        if min(ids) < 0 or max(ids) >= n_vocab or min(positions) < 0 or max(positions) >= block_size:
            raise IndexError(f"ids go to {n_vocab - 1}, positions to {block_size - 1}: {ids}, {positions}")
        if self.wide_layers and len(ids) > CPUDecoder.WIDE:
            self.place(slots, positions, cache)
            return self.wide_logits(ids, positions, last)
        logits, n_done = torch.empty(len(last), self.n_rows), 0
        for start in range(0, len(ids), self.ROWS):
            end = start + self.ROWS
            self.place(slots[start:end], positions[start:end], cache)
            wanted = [i - start for i in last if start <= i < end]
            rows = logits[n_done : n_done + len(wanted)].numpy()
            n_done += len(wanted)
            cpu_step.forward(
                np.array(ids[start:end]), np.array(wanted, np.int64), rows, self.state, self.step, self.kinds
            )
        return logits[:, : self.model.config.vocab_size]

    def place(self, slots: list[int], positions: list[int], cache: KVCache) -> None:
        """Where the next step's tokens stand."""
        self.room(len(slots), cache)
        self.slots[: len(slots)], self.positions[: len(slots)] = slots, positions
        if self.crew:
            self.crew.wake()

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
        self.room(1, KVCache(self.model.config, 1, dtype=cache_dtype(self.model)))
        cpu_step.attention(0, 1, self.state, self.step, self.kinds)  # compiled now
        return True

    def wide_logits(self, ids: list[int], positions: list[int], last: list[int]) -> torch.Tensor:
        """What __call__ returns, with torch's matrix products."""
        x = (
            self.model.transformer.wte(torch.tensor(ids)) + self.model.transformer.wpe(torch.tensor(positions))
        ).float()
        n, y = len(ids), torch.empty_like(x)
        qkv, heads = torch.from_numpy(self.qkv)[:n], torch.from_numpy(self.heads)[:n]
        for layer, (attn, attn_proj, fc, fc_proj) in enumerate(self.wide_layers):
            ln_1, ln_2 = self.norms[layer]
            cpu_block.layer_norm(as_numpy(x), *ln_1, as_numpy(y))
            qkv.copy_(attn(y))
            cpu_step.attention(layer, n, self.state, self.step, self.kinds)
            x += attn_proj(heads)
            cpu_block.layer_norm(as_numpy(x), *ln_2, as_numpy(y))
            x += fc_proj(F.gelu(fc(y), approximate="tanh"))
        return self.logits(x[last])

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (rows, n_vocab) of the last block's hidden states (rows, n_embd)."""
        y = torch.empty_like(x)
        cpu_block.layer_norm(as_numpy(x), *self.final_norm, as_numpy(y))
        head = self.wide_head if self.wide_head and len(x) > CPUDecoder.WIDE else self.model.transformer.wte.head
        return head(y)[:, : self.model.config.vocab_size]


def addresses(arrays: Iterable[np.ndarray]) -> list[int]:
    """Where the arrays' numbers stand in memory, one after the other."""
    arrays = list(arrays)
    assert all(array.flags.c_contiguous for array in arrays)
    return [array.ctypes.data for array in arrays]


def aligned(*shape: int) -> np.ndarray:
    """An array of float32 that begins at a multiple of 64 bytes, where no vector straddles two lines of the cache."""
    return as_numpy(torch.empty(*shape))


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
    """(values, scales, bias) of a linear layer or an embedding, as ops/cpu_dot.py reads them; packed or not."""
    if isinstance(layer, QuantizedLinear):
        values, scales, bias = layer.values, layer.scales, layer.bias
    else:
        values, bias = layer.get_parameter("weight"), getattr(layer, "bias", None)
        scales = torch.ones(len(values))
    scales = scales[:, None] if scales.dim() == 1 else scales
    n_out = len(values) * (1 if values.dim() == 2 else LANES)
    return as_numpy(values), as_numpy(scales), as_numpy(torch.zeros(n_out) if bias is None else bias.float())
