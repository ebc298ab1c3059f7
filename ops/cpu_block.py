"""
Decoding on a CPU: a few tokens through a block of GPT-2, as fast as the weights come from memory. numba compiles these
loops at their first use (seconds, once: the machine code is kept in __pycache__).

x is (rows, n_in) float32. A weight is values and scales, as inference/quantize.py makes them: (n_out, n_in) float32,
bfloat16 (seen as uint16) or int8, with a scale a row, (n_out,); or 4-bit numbers, 32 in 16 bytes, (n_out, n_in / 2)
uint8, with a scale for each 32, (n_out, n_in / 32). n_in is a multiple of 32, a head's size of 16.
"""

# pyright: reportCallIssue=false, reportArgumentType=false
# (numba's intrinsics are called without the context that they are declared with)

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, prange, types
from numba.extending import overload

from ops.simd import (
    LANES,
    Vector,
    add,
    float_of_bits,
    fma,
    load,
    multiply,
    nibbles,
    splat,
    store,
    total,
    totals,
    zeros,
)

Array = np.ndarray
Weight = tuple[Array, Array, Array]  # values, scales, bias
Norm = tuple[Array, Array]  # weight, bias

# sums in plain loops may be taken in any order, so that they are vectorised; nan and inf stay what they are
OPTIONS: dict[str, Any] = dict(
    nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp", "afn"}, cache=True, error_model="numpy"
)
INLINED = dict(OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # called from here only: compiled sooner
GROUP_SIZE = 2 * LANES  # numbers that share a scale in 4 bits, and that a step of a sum takes


def weights(values: Array, scales: Array, n: int, k: int) -> tuple[Vector, Vector]:
    """The 32 numbers of row n from column k on, as two vectors; those of 4 bits are scaled, the others not yet."""
    raise NotImplementedError  # in compiled code _weights stands in its place


# numba compares the parameters of an overload and of its implementations, types included: hence Any in both
@overload(weights)
def _weights(values: Any, scales: Any, n: Any, k: Any) -> Callable:
    if values.dtype == types.uint8:

        def four_bits(values: Any, scales: Any, n: Any, k: Any) -> tuple[Vector, Vector]:
            lower, upper = nibbles(values, n * values.shape[1] + k // 2)
            scale = splat(scales[n, k // GROUP_SIZE])
            return multiply(lower, scale), multiply(upper, scale)

        return four_bits

    def whole(values: Any, scales: Any, n: Any, k: Any) -> tuple[Vector, Vector]:
        place = n * values.shape[1] + k
        return load(values, place), load(values, place + LANES)

    return whole


def row_scale(scales: Array, n: int) -> np.float32:
    """The scale of row n, which its sums are multiplied by; 1 where the weights are scaled already, in groups."""
    raise NotImplementedError  # in compiled code _row_scale stands in its place


@overload(row_scale)
def _row_scale(scales: Any, n: Any) -> Callable:
    def of_row(scales: Any, n: Any) -> np.float32:
        return scales[n]

    def none(scales: Any, n: Any) -> np.float32:
        return np.float32(1)

    return of_row if scales.ndim == 1 else none


@njit(**INLINED)
def dot(values: Array, scales: Array, n: int, x: Array, m: int) -> np.float32:
    """Row n of a weight times row m of x, without the row's scale."""
    a = b = zeros()
    for k in range(0, x.shape[1], GROUP_SIZE):
        place = m * x.shape[1] + k
        v, w = weights(values, scales, n, k)
        a, b = fma(v, load(x, place), a), fma(w, load(x, place + LANES), b)
    return total(add(a, b))


@njit(**INLINED)
def dots(values: Array, scales: Array, n: int, x: Array, m: int) -> tuple:
    """Row n of a weight times rows m to m + 3 of x, each as `dot` gives it; the weight is read and converted once."""
    a = b = c = d = e = f = g = h = zeros()
    for k in range(0, x.shape[1], GROUP_SIZE):
        place, width = m * x.shape[1] + k, x.shape[1]
        v, w = weights(values, scales, n, k)
        a, b = fma(v, load(x, place), a), fma(w, load(x, place + LANES), b)
        place += width
        c, d = fma(v, load(x, place), c), fma(w, load(x, place + LANES), d)
        place += width
        e, f = fma(v, load(x, place), e), fma(w, load(x, place + LANES), f)
        place += width
        g, h = fma(v, load(x, place), g), fma(w, load(x, place + LANES), h)
    return totals(add(a, b), add(c, d), add(e, f), add(g, h))


@njit(parallel=True, **OPTIONS)
def linear(x: Array, values: Array, scales: Array, bias: Array, y: Array, accumulate: bool) -> None:
    """y (rows, n_out) = x @ weight.T + bias; with `accumulate`, that is added to y."""
    fours = x.shape[0] // 4 * 4
    for n in prange(values.shape[0]):
        for m in range(0, fours, 4):
            sums = dots(values, scales, n, x, m)
            for r in range(4):
                y[m + r, n] = sums[r] * row_scale(scales, n) + bias[n] + (y[m + r, n] if accumulate else np.float32(0))
        for m in range(fours, x.shape[0]):
            y[m, n] = (
                dot(values, scales, n, x, m) * row_scale(scales, n)
                + bias[n]
                + (y[m, n] if accumulate else np.float32(0))
            )


@njit(**OPTIONS)
def layer_norm(x: Array, weight: Array, bias: Array, y: Array) -> None:
    """y (rows, n) = the layer norm of each row of x."""
    for m in range(x.shape[0]):
        mean = variance = np.float32(0)
        for c in range(x.shape[1]):
            mean += x[m, c]
        mean /= np.float32(x.shape[1])
        for c in range(x.shape[1]):
            variance += (x[m, c] - mean) * (x[m, c] - mean)
        scale = np.float32(1) / np.sqrt(variance / np.float32(x.shape[1]) + np.float32(1e-5))
        for c in range(x.shape[1]):
            y[m, c] = (x[m, c] - mean) * scale * weight[c] + bias[c]


@njit(**INLINED)
def exp(x: np.float32) -> np.float32:
    """e ** x to a relative 2e-7, in steps that vectorise: 2 ** n times a polynomial of the rest (Cephes, expf)."""
    x = min(max(x, np.float32(-87)), np.float32(88))
    n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    r = x - n * np.float32(0.693147181)
    p = np.float32(1.9875691e-4) * r + np.float32(1.3981999e-3)
    p = p * r + np.float32(8.3334519e-3)
    p = p * r + np.float32(4.1665796e-2)
    p = p * r + np.float32(1.6666666e-1)
    p = p * r + np.float32(5.0000001e-1)
    p = p * r * r + r + np.float32(1)
    return p * float_of_bits(np.uint32(np.int32(n) + np.int32(127)) << np.uint32(23))


@njit(**INLINED)
def gelu(x: Array) -> None:
    """GELU in its tanh form, in place."""
    for m in range(x.shape[0]):
        for c in range(x.shape[1]):
            v = x[m, c]
            twice = np.float32(1.5957691216) * (v + np.float32(0.044715) * v * v * v)  # the argument of tanh, twice
            x[m, c] = v / (np.float32(1) + exp(-twice))


@njit(**INLINED)
def softmax(scores: Array, n: int, head_size: int) -> None:
    """The softmax of a head's first n scores, in place; the others become 0."""
    root, highest, weight = np.float32(1 / math.sqrt(head_size)), scores[0], np.float32(0)
    for t in range(n):
        highest = max(highest, scores[t])
    for t in range(n):
        scores[t] = exp((scores[t] - highest) * root)
    for t in range(n):
        weight += scores[t]
    for t in range(n):
        scores[t] /= weight
    scores[n:] = 0


@njit(**INLINED)
def attend(qkv: Array, m: int, h: int, size: int, n: int, start: int, keys: Array, values: Array, y: Array) -> None:
    """Head h, of `size` numbers, of row m, which sees n tokens: their keys and values stand from .flat[start] on."""
    scores, fours, q = np.empty(n, np.float32), n // 4 * 4, m * qkv.shape[1] + h * size
    for t in range(0, fours, 4):
        a = b = c = d = zeros()
        for i in range(0, size, LANES):
            asked, place = load(qkv, q + i), start + t * size + i
            a, b = fma(asked, load(keys, place), a), fma(asked, load(keys, place + size), b)
            place += 2 * size
            c, d = fma(asked, load(keys, place), c), fma(asked, load(keys, place + size), d)
        scores[t], scores[t + 1], scores[t + 2], scores[t + 3] = totals(a, b, c, d)
    for t in range(fours, n):
        a = zeros()
        for i in range(0, size, LANES):
            a = fma(load(qkv, q + i), load(keys, start + t * size + i), a)
        scores[t] = total(a)
    softmax(scores, n, size)
    for i in range(0, size, LANES):
        a = b = c = d = zeros()
        for t in range(0, fours, 4):
            place = start + t * size + i
            a = fma(splat(scores[t]), load(values, place), a)
            b = fma(splat(scores[t + 1]), load(values, place + size), b)
            c = fma(splat(scores[t + 2]), load(values, place + 2 * size), c)
            d = fma(splat(scores[t + 3]), load(values, place + 3 * size), d)
        for t in range(fours, n):
            a = fma(splat(scores[t]), load(values, start + t * size + i), a)
        store(y, m * y.shape[1] + h * size + i, add(add(a, b), add(c, d)))


@njit(**INLINED)
def attend_four(
    qkv: Array, m: int, h: int, size: int, n: int, start: int, keys: Array, values: Array, y: Array
) -> None:
    """`attend` for rows m to m + 3, neighbours in one sequence, of which the last sees n tokens: each is read once."""
    scores, width, q = np.empty((4, n), np.float32), qkv.shape[1], m * qkv.shape[1] + h * size
    for t in range(n):
        a = b = c = d = zeros()
        for i in range(0, size, LANES):
            key, place = load(keys, start + t * size + i), q + i
            a, b = fma(load(qkv, place), key, a), fma(load(qkv, place + width), key, b)
            place += 2 * width
            c, d = fma(load(qkv, place), key, c), fma(load(qkv, place + width), key, d)
        scores[0, t], scores[1, t], scores[2, t], scores[3, t] = totals(a, b, c, d)
    for r in range(4):
        softmax(scores[r], n - 3 + r, size)
    width = y.shape[1]
    for i in range(0, size, LANES):
        a = b = c = d = zeros()
        for t in range(n):
            value = load(values, start + t * size + i)
            a, b = fma(splat(scores[0, t]), value, a), fma(splat(scores[1, t]), value, b)
            c, d = fma(splat(scores[2, t]), value, c), fma(splat(scores[3, t]), value, d)
        place = m * width + h * size + i
        store(y, place, a)
        store(y, place + width, b)
        store(y, place + 2 * width, c)
        store(y, place + 3 * width, d)


@njit(parallel=True, **OPTIONS)
def attention(qkv: Array, slots: Array, positions: Array, keys: Array, values: Array, y: Array) -> None:
    """
    The heads' outputs y (rows, C) for qkv (rows, 3 C). Row m is a token of the sequence in slot slots[m] of the cache,
    at positions[m], and sees the tokens up to there.
    """
    n_head, block_size, size = keys.shape[1], keys.shape[2], keys.shape[3]
    rows = qkv.shape[0]
    groups = (rows + 3) // 4
    for j in prange(n_head * groups):
        h, m = j // groups, j % groups * 4  # the rows that see the same keys come one after the other
        last = min(m + 4, rows) - 1
        if last == m + 3 and slots[m] == slots[last] and positions[m] + 3 == positions[last]:
            start = (slots[m] * n_head + h) * block_size * size
            attend_four(qkv, m, h, size, positions[last] + 1, start, keys, values, y)
        else:
            for r in range(m, last + 1):
                start = (slots[r] * n_head + h) * block_size * size
                attend(qkv, r, h, size, positions[r] + 1, start, keys, values, y)


@njit(**OPTIONS)
def write_kv_and_attend(qkv: Array, slots: Array, positions: Array, keys: Array, values: Array, y: Array) -> None:
    """Write the rows' keys and values into the cache, (slots, n_head, block_size, head_size) each, then `attention`."""
    C, n_head, block_size, size = y.shape[1], keys.shape[1], keys.shape[2], keys.shape[3]
    for m in range(qkv.shape[0]):
        for h in range(n_head):
            place = ((slots[m] * n_head + h) * block_size + positions[m]) * size
            for c in range(0, size, LANES):
                store(keys, place + c, load(qkv, m * 3 * C + C + h * size + c))
                store(values, place + c, load(qkv, m * 3 * C + 2 * C + h * size + c))
    attention(qkv, slots, positions, keys, values, y)


@njit(**OPTIONS)
def block(
    x: Array,
    slots: Array,
    positions: Array,
    ln_1: Norm,
    attn: Weight,
    attn_proj: Weight,
    ln_2: Norm,
    fc: Weight,
    fc_proj: Weight,
    keys: Array,
    values: Array,
    y: Array,
    qkv: Array,
    hidden: Array,
) -> None:
    """
    One block of GPT-2, on x (rows, C) in place; the rows' keys and values go to the cache. Buffers for what is in
    between: y (rows, C), qkv (rows, 3 C), hidden (rows, 4 C).
    """
    layer_norm(x, *ln_1, y)
    linear(y, *attn, qkv, False)
    write_kv_and_attend(qkv, slots, positions, keys, values, y)
    linear(y, *attn_proj, x, True)
    layer_norm(x, *ln_2, y)
    linear(y, *fc, hidden, False)
    gelu(hidden)
    linear(hidden, *fc_proj, x, True)
