"""
Products of weights with a few rows of numbers, as fast as the weights come from memory, for numba.

A weight is values and scales, as inference/quantize.py makes them: (n_out, n_in) float32, or bfloat16 seen as uint16,
with scales of 1, (n_out, 1); or int8 or 4-bit numbers in tiles (ops/cpu_tile.py). n_in is a multiple of 32.

Beside float32 and bfloat16 x is (rows, n_in) float32. Beside int8 and 4 bits it is int16 with a scale a row, as
`prepare` makes it: sums of integers are exact, twice as many are multiplied at once, and nothing has to be converted
to float32. What it rounds away is 1/65,000 of a row's largest number, of which int8 weights round away 1/254.
"""

# pyright: reportCallIssue=false, reportArgumentType=false
# (numba's intrinsics are called without the context that they are declared with)

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from ops.cpu_tile import ROWS, tile_of_1, tile_of_4, tile_of_8
from ops.simd import LANES, Vector, add, float_of_bits, fma, load, multiply, splat, store, total, totals, zeros
from ops.simd_ints import int_zeros, larger_magnitudes, largest, store_rounded

Array = np.ndarray
GROUP_SIZE = 2 * LANES  # numbers that share a scale in 4 bits, and that a step of a sum takes
MOST = np.float32(32767)  # of int16
EXACT: dict[str, Any] = dict(nogil=True, cache=True, error_model="numpy")  # each operation as it stands, in its order
# sums in plain loops may be taken in any order, so that they are vectorised; nan and inf stay what they are
OPTIONS: dict[str, Any] = dict(EXACT, fastmath={"reassoc", "contract", "nsz", "arcp", "afn"})
INTERNAL = dict(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # called from compiled code only: compiled sooner


@njit(**EXACT, **INTERNAL)
def dot(values: Array, n: int, x: Array, m: int) -> Vector:
    """Row n of a weight in float32 or bfloat16 times row m of x, in sixteen parts."""
    a = b = zeros()
    for k in range(0, x.shape[1], GROUP_SIZE):
        row, place = n * x.shape[1] + k, m * x.shape[1] + k
        a = fma(load(values, row), load(x, place), a)
        b = fma(load(values, row + LANES), load(x, place + LANES), b)
    return add(a, b)


@njit(**EXACT, **INTERNAL)
def dots(values: Array, n: int, x: Array, m: int) -> tuple:
    """`dot` for rows m to m + 3 of x; the weight is read and converted once."""
    a = b = c = d = e = f = g = h = zeros()
    width = x.shape[1]
    for k in range(0, width, GROUP_SIZE):
        row, place = n * width + k, m * width + k
        v, w = load(values, row), load(values, row + LANES)
        a, b = fma(v, load(x, place), a), fma(w, load(x, place + LANES), b)
        place += width
        c, d = fma(v, load(x, place), c), fma(w, load(x, place + LANES), d)
        place += width
        e, f = fma(v, load(x, place), e), fma(w, load(x, place + LANES), f)
        place += width
        g, h = fma(v, load(x, place), g), fma(w, load(x, place + LANES), h)
    return add(a, b), add(c, d), add(e, f), add(g, h)


def read_row(values: Array, scales: Array, n: int, row: Array) -> None:
    """Write row n of a weight, not of 4 bits, to `row` (n_in,) float32."""
    raise NotImplementedError  # in compiled code _read_row stands in its place


# numba compares the parameters of an overload and of its implementations, types included: hence Any in both
@overload(read_row)
def _read_row(values: Any, scales: Any, n: Any, row: Any) -> Callable:
    def from_tiles(values: Any, scales: Any, n: Any, row: Any) -> None:
        for k in range(len(row)):
            row[k] = values[n // LANES, k // 2, n % LANES, k % 2] * scales[n, 0]

    def plain(values: Any, scales: Any, n: Any, row: Any) -> None:
        for k in range(0, len(row), LANES):
            store(row, k, load(values, n * len(row) + k))

    return from_tiles if values.dtype == types.int8 else plain


def prepare(rows: Array, x: Array, x_scales: Array) -> None:
    """Write `rows` (rows, n_in) float32 to x in x's dtype, and what its sums are to be multiplied by to x_scales."""
    raise NotImplementedError  # in compiled code _prepare stands in its place


@overload(prepare)
def _prepare(rows: Any, x: Any, x_scales: Any) -> Callable:
    def as_it_is(rows: Any, x: Any, x_scales: Any) -> None:
        for m in range(rows.shape[0]):
            for k in range(rows.shape[1]):
                x[m, k] = rows[m, k]
            x_scales[m] = 1

    def as_int16(rows: Any, x: Any, x_scales: Any) -> None:
        n_in = rows.shape[1]
        for m in range(rows.shape[0]):
            bits = int_zeros()
            for k in range(0, n_in, LANES):
                bits = larger_magnitudes(rows, m * n_in + k, bits)
            size = float_of_bits(largest(bits))
            scale = MOST / size if size > np.float32(0) else np.float32(0)
            for k in range(0, n_in, LANES):
                store_rounded(x, m * n_in + k, multiply(load(rows, m * n_in + k), splat(scale)))
            x_scales[m] = size / MOST  # inf or nan where there is one, so that the products are as well

    return as_int16 if x.dtype == types.int16 else as_it_is


def linear_block(
    x: Array, x_scales: Array, values: Array, scales: Array, bias: Array, first: int, end: int, y: Array
) -> None:
    """y (rows, n_out)[:, first:end] = (x @ weight.T + bias)[:, first:end]; first and end are multiples of 32."""
    raise NotImplementedError  # in compiled code _linear_block stands in its place


@overload(linear_block, jit_options=EXACT)  # OPTIONS would let LLVM take the sums of `totals` in another order
def _linear_block(x: Any, x_scales: Any, values: Any, scales: Any, bias: Any, first: Any, end: Any, y: Any) -> Callable:
    def floats(x: Any, x_scales: Any, values: Any, scales: Any, bias: Any, first: Any, end: Any, y: Any) -> None:
        rows = x.shape[0]
        fours = rows // 4 * 4
        if rows == 1:
            # four sums at once, but one row of weights after the other, as memory likes it
            for n in range(first, end, 4):
                sums = totals(
                    dot(values, n, x, 0), dot(values, n + 1, x, 0), dot(values, n + 2, x, 0), dot(values, n + 3, x, 0)
                )
                for r in range(4):
                    y[0, n + r] = sums[r] + bias[n + r]
            return
        for n in range(first, end):
            for m in range(0, fours, 4):
                a, b, c, d = dots(values, n, x, m)
                sums = totals(a, b, c, d)
                for r in range(4):
                    y[m + r, n] = sums[r] + bias[n]
            for m in range(fours, rows):
                y[m, n] = total(dot(values, n, x, m)) + bias[n]

    def tiles(x: Any, x_scales: Any, values: Any, scales: Any, bias: Any, first: Any, end: Any, y: Any) -> None:
        rows = x.shape[0]
        for n in range(first, end, GROUP_SIZE):
            if rows == 1:
                tile_of_1(x, x_scales, values, scales, bias, n, 0, y)
            else:
                m = 0
                if ROWS == 8:
                    while rows - m > 4:
                        tile_of_8(x, x_scales, values, scales, bias, n, m, y)
                        m += 8
                while m < rows:
                    tile_of_4(x, x_scales, values, scales, bias, n, m, y)
                    m += 4

    return tiles if values.dtype in (types.int8, types.uint8) else floats


@njit(**OPTIONS)
def linear(rows: Array, x: Array, x_scales: Array, values: Array, scales: Array, bias: Array, y: Array) -> None:
    """y (rows, n_out) = rows (rows, n_in) float32 @ weight.T + bias; x and x_scales: room for what `prepare` makes."""
    prepare(rows, x, x_scales)
    linear_block(x, x_scales, values, scales, bias, 0, y.shape[1], y)
