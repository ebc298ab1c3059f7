"""
What a block of GPT-2 does beside its matrix products, on a CPU, for a few tokens: norms, GELU and attention over the
cached keys and values. numba compiles these loops at their first use (seconds, once: the machine code is kept in
__pycache__).

x is (rows, n) float32; a head's size is a multiple of 16.
"""

# pyright: reportCallIssue=false, reportArgumentType=false
# (numba's intrinsics are called without the context that they are declared with)

import math

import numpy as np
from numba import njit

from ops.cpu_dot import EXACT, INTERNAL, OPTIONS, Array
from ops.simd import LANES, add, float_of_bits, fma, load, splat, store, total, totals, zeros


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


@njit(**EXACT, **INTERNAL)
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


@njit(**EXACT, **INTERNAL)
def gelu(x: Array, first: int, end: int) -> None:
    """GELU in its tanh form, of the columns from first to end - 1, in place."""
    for m in range(x.shape[0]):
        for c in range(first, end):
            v = x[m, c]
            twice = np.float32(1.5957691216) * (v + np.float32(0.044715) * v * v * v)  # the argument of tanh, twice
            x[m, c] = v / (np.float32(1) + exp(-twice))


@njit(**OPTIONS, **INTERNAL)
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


@njit(**OPTIONS, **INTERNAL)
def attend(qkv: Array, m: int, h: int, size: int, n: int, start: int, keys: Array, values: Array, y: Array) -> None:
    """Head h, of `size` numbers, of row m, which sees n tokens: their keys and values stand from `start` on."""
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


@njit(**OPTIONS, **INTERNAL)
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
