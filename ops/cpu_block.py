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
from ops.simd import (
    LANES,
    add,
    divide,
    exp,
    fma,
    highest,
    larger,
    load,
    multiply,
    splat,
    store,
    subtract,
    total,
    totals,
    zeros,
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


@njit(**EXACT, **INTERNAL)
def gelu(x: Array, first: int, end: int) -> None:
    """GELU in its tanh form, of the columns from first to end - 1, in place; a multiple of 16 of them."""
    one, twice = splat(np.float32(1)), splat(np.float32(-1.5957691216))  # twice, and negative: of the argument of tanh
    for m in range(x.shape[0]):
        for c in range(first, end, LANES):
            v = load(x, m * x.shape[1] + c)
            cubic = fma(multiply(multiply(v, v), v), splat(np.float32(0.044715)), v)
            store(x, m * x.shape[1] + c, divide(v, add(one, exp(multiply(twice, cubic)))))


@njit(**EXACT, **INTERNAL)
def softmax(scores: Array, first: int, n: int, end: int, head_size: int) -> np.float32:
    """
    A head's n scores, from scores[first] on, become exponentials, of which none is above 1; those that follow, up to
    end - 1, become 0. From first to end it is a multiple of 16. Returns what they are to be divided by, their sum.
    """
    for t in range(first + n, end):
        scores[t] = -np.inf
    most = load(scores, first)
    for t in range(first + LANES, end, LANES):
        most = larger(most, load(scores, t))
    most, root, sums = splat(highest(most)), splat(np.float32(1 / math.sqrt(head_size))), zeros()
    for t in range(first, end, LANES):
        weights = exp(multiply(subtract(load(scores, t), most), root))
        sums = add(sums, weights)
        store(scores, t, weights)
    return total(sums)


@njit(**OPTIONS, **INTERNAL)
def attend(qkv: Array, m: int, h: int, size: int, n: int, start: int, keys: Array, values: Array, y: Array) -> None:
    """Head h, of `size` numbers, of row m, which sees n tokens: their keys and values stand from `start` on."""
    fours, q = n // 4 * 4, m * qkv.shape[1] + h * size
    scores = np.empty((n + LANES - 1) // LANES * LANES, np.float32)
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
    sums = splat(softmax(scores, 0, n, len(scores), size))
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
        store(y, m * y.shape[1] + h * size + i, divide(add(add(a, b), add(c, d)), sums))


@njit(**OPTIONS, **INTERNAL)
def attend_four(
    qkv: Array, m: int, h: int, size: int, n: int, start: int, keys: Array, values: Array, y: Array
) -> None:
    """
    `attend` for rows m to m + 3, neighbours in one sequence, of which the last sees n tokens: each is read once. A
    head has 32 numbers or more.
    """
    wide = (n + LANES - 1) // LANES * LANES
    scores, width, q = np.empty(4 * wide, np.float32), qkv.shape[1], m * qkv.shape[1] + h * size
    for t in range(n):
        a = b = c = d = zeros()
        for i in range(0, size, LANES):
            key, place = load(keys, start + t * size + i), q + i
            a, b = fma(load(qkv, place), key, a), fma(load(qkv, place + width), key, b)
            place += 2 * width
            c, d = fma(load(qkv, place), key, c), fma(load(qkv, place + width), key, d)
        scores[t], scores[wide + t], scores[2 * wide + t], scores[3 * wide + t] = totals(a, b, c, d)
    first, second, third, fourth = 0, wide, 2 * wide, 3 * wide
    sums = (
        splat(softmax(scores, first, n - 3, wide, size)),
        splat(softmax(scores, second, n - 2, 2 * wide, size)),
        splat(softmax(scores, third, n - 1, 3 * wide, size)),
        splat(softmax(scores, fourth, n, 4 * wide, size)),
    )
    # the last three tokens are not seen by all four rows, whose weights for them are 0
    width = y.shape[1]
    for column in range(0, size, 2 * LANES):
        i = min(column, size - 2 * LANES)
        a = b = c = d = e = f = g = k = zeros()
        for t in range(n):
            place = start + t * size + i
            value, other = load(values, place), load(values, place + LANES)
            weight = splat(scores[first + t])
            a, b = fma(weight, value, a), fma(weight, other, b)
            weight = splat(scores[second + t])
            c, d = fma(weight, value, c), fma(weight, other, d)
            weight = splat(scores[third + t])
            e, f = fma(weight, value, e), fma(weight, other, f)
            weight = splat(scores[fourth + t])
            g, k = fma(weight, value, g), fma(weight, other, k)
        place = m * width + h * size + i
        store(y, place, divide(a, sums[0]))
        store(y, place + LANES, divide(b, sums[0]))
        place += width
        store(y, place, divide(c, sums[1]))
        store(y, place + LANES, divide(d, sums[1]))
        place += width
        store(y, place, divide(e, sums[2]))
        store(y, place + LANES, divide(f, sums[2]))
        place += width
        store(y, place, divide(g, sums[3]))
        store(y, place + LANES, divide(k, sums[3]))
