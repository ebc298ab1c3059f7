"""
Products of packed weights with a few rows of numbers, as fast as the weights come from memory, for numba.

A weight is values and scales, as inference/quantize.py makes them: (n_out, n_in) float32, bfloat16 (seen as uint16)
or int8, with a scale a row, (n_out, 1); or 4-bit numbers, 32 in 16 bytes, (n_out, n_in / 2) uint8, with a scale for
each 32, (n_out, n_in / 32). n_in is a multiple of 32.

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

from ops.simd import (
    LANES,
    Vector,
    add,
    float_of_bits,
    fma,
    fma_of_one,
    load,
    multiply,
    nibbles,
    splat,
    total,
    totals,
    zeros,
)
from ops.simd_ints import (
    as_floats,
    int_add,
    int_zeros,
    larger_magnitudes,
    largest,
    load_nibbles,
    load_shorts,
    multiply_add,
    store_rounded,
)

Array = np.ndarray
GROUP_SIZE = 2 * LANES  # numbers that share a scale in 4 bits, and that a step of a sum takes
EXACT: dict[str, Any] = dict(nogil=True, cache=True, error_model="numpy")  # each operation as it stands, in its order
# sums in plain loops may be taken in any order, so that they are vectorised; nan and inf stay what they are
OPTIONS: dict[str, Any] = dict(EXACT, fastmath={"reassoc", "contract", "nsz", "arcp", "afn"})
INTERNAL = dict(no_cpython_wrapper=True, no_cfunc_wrapper=True)  # called from compiled code only: compiled sooner


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


def row_scale(values: Array, scales: Array, n: int) -> np.float32:
    """The scale of row n, which its sums are multiplied by; 1 where the weights are scaled already, in groups."""
    raise NotImplementedError  # in compiled code _row_scale stands in its place


@overload(row_scale)
def _row_scale(values: Any, scales: Any, n: Any) -> Callable:
    def of_row(values: Any, scales: Any, n: Any) -> np.float32:
        return scales[n, 0]

    def none(values: Any, scales: Any, n: Any) -> np.float32:
        return np.float32(1)

    return none if values.dtype == types.uint8 else of_row


def dot(values: Array, scales: Array, n: int, x: Array, m: int) -> Vector:
    """Row n of a weight times row m of x, without the row's scales, in sixteen parts."""
    raise NotImplementedError  # in compiled code _dot stands in its place


@overload(dot)
def _dot(values: Any, scales: Any, n: Any, x: Any, m: Any) -> Callable:
    def floats(values: Any, scales: Any, n: Any, x: Any, m: Any) -> Vector:
        a = b = zeros()
        for k in range(0, x.shape[1], GROUP_SIZE):
            place = m * x.shape[1] + k
            v, w = weights(values, scales, n, k)
            a, b = fma(v, load(x, place), a), fma(w, load(x, place + LANES), b)
        return add(a, b)

    def eight_bits(values: Any, scales: Any, n: Any, x: Any, m: Any) -> Vector:
        a = b = int_zeros()
        width, row, place = x.shape[1], n * x.shape[1], m * x.shape[1]
        for k in range(0, width - GROUP_SIZE, 2 * GROUP_SIZE):
            a = multiply_add(load_shorts(values, row + k), load_shorts(x, place + k), a)
            b = multiply_add(load_shorts(values, row + k + GROUP_SIZE), load_shorts(x, place + k + GROUP_SIZE), b)
        if width % (2 * GROUP_SIZE):
            k = width - GROUP_SIZE
            a = multiply_add(load_shorts(values, row + k), load_shorts(x, place + k), a)
        return as_floats(int_add(a, b))

    def four_bits(values: Any, scales: Any, n: Any, x: Any, m: Any) -> Vector:
        a, row, place = zeros(), n * values.shape[1], m * x.shape[1]
        for group in range(scales.shape[1]):
            sums = multiply_add(
                load_nibbles(values, row + group * LANES), load_shorts(x, place + group * GROUP_SIZE), int_zeros()
            )
            a = fma(as_floats(sums), splat(scales[n, group]), a)
        return a

    return {types.int8: eight_bits, types.uint8: four_bits}.get(values.dtype, floats)


def dots(values: Array, scales: Array, n: int, x: Array, m: int) -> tuple:
    """`dot` for rows m to m + 3 of x, not for int8; the weight is read and converted once."""
    raise NotImplementedError  # in compiled code _dots stands in its place


@overload(dots)
def _dots(values: Any, scales: Any, n: Any, x: Any, m: Any) -> Callable:
    def floats(values: Any, scales: Any, n: Any, x: Any, m: Any) -> tuple:
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
        return add(a, b), add(c, d), add(e, f), add(g, h)

    def four_bits(values: Any, scales: Any, n: Any, x: Any, m: Any) -> tuple:
        a = b = c = d = zeros()
        width, row = x.shape[1], n * values.shape[1]
        for group in range(scales.shape[1]):
            v, scale = load_nibbles(values, row + group * LANES), splat(scales[n, group])
            place = m * width + group * GROUP_SIZE
            a = fma(as_floats(multiply_add(v, load_shorts(x, place), int_zeros())), scale, a)
            b = fma(as_floats(multiply_add(v, load_shorts(x, place + width), int_zeros())), scale, b)
            c = fma(as_floats(multiply_add(v, load_shorts(x, place + 2 * width), int_zeros())), scale, c)
            d = fma(as_floats(multiply_add(v, load_shorts(x, place + 3 * width), int_zeros())), scale, d)
        return a, b, c, d

    return four_bits if values.dtype == types.uint8 else floats


def dots_of_two(values: Array, scales: Array, n: int, x: Array, m: int) -> tuple:
    """`dots` of rows n and n + 1 of a weight, eight in all; what is read of x serves both."""
    raise NotImplementedError  # in compiled code _dots_of_two stands in its place


@overload(dots_of_two)
def _dots_of_two(values: Any, scales: Any, n: Any, x: Any, m: Any) -> Callable:
    def one_after_the_other(values: Any, scales: Any, n: Any, x: Any, m: Any) -> tuple:
        a, b, c, d = dots(values, scales, n, x, m)
        e, f, g, h = dots(values, scales, n + 1, x, m)
        return a, b, c, d, e, f, g, h

    def eight_bits(values: Any, scales: Any, n: Any, x: Any, m: Any) -> tuple:
        a = b = c = d = e = f = g = h = int_zeros()
        width, row, place = x.shape[1], n * x.shape[1], m * x.shape[1]
        for k in range(0, width, GROUP_SIZE):
            v, w = load_shorts(values, row + k), load_shorts(values, row + width + k)
            one, two = load_shorts(x, place + k), load_shorts(x, place + width + k)
            a, e = multiply_add(v, one, a), multiply_add(w, one, e)
            b, f = multiply_add(v, two, b), multiply_add(w, two, f)
            three, four = load_shorts(x, place + 2 * width + k), load_shorts(x, place + 3 * width + k)
            c, g = multiply_add(v, three, c), multiply_add(w, three, g)
            d, h = multiply_add(v, four, d), multiply_add(w, four, h)
        return (
            as_floats(a), as_floats(b), as_floats(c), as_floats(d),
            as_floats(e), as_floats(f), as_floats(g), as_floats(h),
        )  # fmt: skip

    return eight_bits if values.dtype == types.int8 else one_after_the_other


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
        most = np.float32(min(32767, 2**31 // (127 * n_in // LANES + 1)))  # so that no lane's sum overflows
        for m in range(rows.shape[0]):
            bits = int_zeros()
            for k in range(0, n_in, LANES):
                bits = larger_magnitudes(rows, m * n_in + k, bits)
            size = float_of_bits(largest(bits))
            scale = most / size if size > np.float32(0) else np.float32(0)
            for k in range(0, n_in, LANES):
                store_rounded(x, m * n_in + k, multiply(load(rows, m * n_in + k), splat(scale)))
            x_scales[m] = size / most  # inf or nan where there is one, so that the products are as well

    return as_int16 if x.dtype == types.int16 else as_it_is


@njit(**EXACT, **INTERNAL)
def scaled(product: np.float32, scale: np.float32, x_scale: np.float32, bias: np.float32) -> np.float32:
    """A product of the numbers themselves; rounded alike whoever computes it."""
    return fma_of_one(product, scale * x_scale, bias)


@njit(**EXACT, **INTERNAL)  # OPTIONS would let LLVM take the sums of `totals` in another order
def linear_block(
    x: Array, x_scales: Array, values: Array, scales: Array, bias: Array, first: int, end: int, y: Array
) -> None:
    """y (rows, n_out)[:, first:end] = (x @ weight.T + bias)[:, first:end], as far as there are so many columns."""
    rows, end = x.shape[0], min(end, values.shape[0])
    fours = rows // 4 * 4
    if rows == 1:
        # four sums at once, but one row of weights after the other, as memory likes it
        for n in range(first, end - 3, 4):
            sums = totals(
                dot(values, scales, n, x, 0),
                dot(values, scales, n + 1, x, 0),
                dot(values, scales, n + 2, x, 0),
                dot(values, scales, n + 3, x, 0),
            )
            for r in range(4):
                y[0, n + r] = scaled(sums[r], row_scale(values, scales, n + r), x_scales[0], bias[n + r])
        first += max(end - first, 0) // 4 * 4
    pairs = first + (end - first) // 2 * 2
    for n in range(first, pairs, 2):
        for m in range(0, fours, 4):
            a, b, c, d, e, f, g, h = dots_of_two(values, scales, n, x, m)
            sums, more = totals(a, b, c, d), totals(e, f, g, h)
            for r in range(4):
                y[m + r, n] = scaled(sums[r], row_scale(values, scales, n), x_scales[m + r], bias[n])
                y[m + r, n + 1] = scaled(more[r], row_scale(values, scales, n + 1), x_scales[m + r], bias[n + 1])
    for n in range(first, end):
        for m in range(0 if n >= pairs else fours, rows):
            y[m, n] = scaled(total(dot(values, scales, n, x, m)), row_scale(values, scales, n), x_scales[m], bias[n])


@njit(**OPTIONS)
def linear(rows: Array, x: Array, x_scales: Array, values: Array, scales: Array, bias: Array, y: Array) -> None:
    """y (rows, n_out) = rows (rows, n_in) float32 @ weight.T + bias; x and x_scales: room for what `prepare` makes."""
    prepare(rows, x, x_scales)
    linear_block(x, x_scales, values, scales, bias, 0, values.shape[0], y)
