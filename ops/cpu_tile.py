"""
Products of int8 or 4-bit weights with rows of int16, for numba. A tile, some rows of x by 32 of the weight, is summed
in registers; its sums of integers are exact, so that it does not matter who computes which tile.

A weight (n_out, n_in) is kept in panels of 16 rows. In a panel the two numbers that stand in columns 2 i and 2 i + 1 of
each row come one after the other: one vector holds them for all 16 rows, x's two numbers are repeated beside them, and
one instruction (VNNI's, or AVX2's pmaddwd and an addition) brings 16 sums on by two products each. No sum is ever in
parts that would have to be added up across a vector.

    int8    values (n_out / 16, n_in / 2, 16, 2), and a scale a row, (n_out, 1)
    4 bits  values (n_out / 16, n_in / 2, 16) uint8: in byte j the lower four bits are number j % 2 of row j // 2, the
            upper ones of row 8 + j // 2; and a scale for each 32 numbers, (n_out / 16, n_in / 32, 16)

n_out and n_in are multiples of 32.
"""

# pyright: reportPrivateImportUsage=false
# (numba's own guide to new types imports these names from where they are imported here)

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core import config as numba_config
from numba.extending import intrinsic

from ops.simd import FLOATS, INTS, LANES, Typed, constant

COLUMNS = 2 * LANES  # of a tile
PAIRS_PER_GROUP = 16  # pairs of 4-bit numbers that share a scale
# Pairs whose products an int32 holds: 2 * 256 * 127 * 32,767 is less than 2**31. Then the sum goes on as a float32.
PAIRS_PER_SUM = 256
AHEAD = 32  # pairs, a kB: how far ahead of its sums a panel of int8 is read; processors notice a new one late
SHORTS = ir.VectorType(ir.IntType(16), 2 * LANES)
PRODUCTS = ir.VectorType(ir.IntType(32), 2 * LANES)
INT32, INT64 = ir.IntType(32), ir.IntType(64)


def has_wide_registers() -> bool:
    """Whether numba compiles for 32 registers of 64 bytes (AVX-512), which hold the sums of eight rows."""
    if numba_config.CPU_NAME:  # pyright: ignore[reportAttributeAccessIssue] - set when it is imported
        return "avx512f" in (numba_config.CPU_FEATURES or "")  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return llvm.get_host_cpu_features().get("avx512f", False)
    except RuntimeError:  # LLVM does not know this system's
        return False


ROWS = 8 if has_wide_registers() else 4  # of a tile


def repeated(builder: Any, number: Any, vector_type: Any) -> Any:
    """The number in all lanes."""
    none = ir.Constant(vector_type, ir.Undefined)
    first = builder.insert_element(none, number, ir.Constant(INT32, 0))
    return builder.shuffle_vector(first, none, constant(0))


def pairs_of_panel(builder: Any, pointer: Any, pair: Any, four_bits: bool) -> Any:
    """The 32 numbers of a panel's pair of columns, as int16."""
    if not four_bits:
        return builder.sext(builder.load(builder.gep(pointer, [pair]), align=1), SHORTS)
    half = ir.VectorType(ir.IntType(16), LANES)
    numbers = builder.sext(builder.load(builder.gep(pointer, [pair]), align=1), half)
    lower = builder.ashr(builder.shl(numbers, constant(12, half)), constant(12, half))
    order = ir.Constant(PRODUCTS, list(range(2 * LANES)))
    return builder.shuffle_vector(lower, builder.ashr(numbers, constant(4, half)), order)


def fetch(builder: Any, pointer: Any) -> None:
    """Have the processor read what stands there into its cache, if it can be read at all."""
    pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    numbers = [ir.Constant(INT32, number) for number in (0, 3, 1)]  # to read, to all levels of the cache, data
    kind = ir.FunctionType(ir.VoidType(), [pointer.type] + [INT32] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    builder.call(function, [pointer, *numbers])


def add_products(builder: Any, sums: Any, a: Any, b: Any) -> Any:
    """sums + a * b, each two neighbouring products in one sum; written as LLVM knows VNNI and pmaddwd."""
    products = builder.mul(builder.sext(a, PRODUCTS), builder.sext(b, PRODUCTS))
    none = ir.Constant(PRODUCTS, ir.Undefined)
    halves = [ir.Constant(INTS, list(range(first, 2 * LANES, 2))) for first in (0, 1)]
    return builder.add(sums, builder.add(*(builder.shuffle_vector(products, none, half) for half in halves)))


def tile(n_rows: int, steps: int, arguments: tuple[Any, ...]) -> Typed:
    """
    What numba wants of an intrinsic that computes a tile of so many rows. steps: pairs of columns that are summed side
    by side, so that one sum need not wait for the last. arguments: the types of those of tile_of_8.
    """
    values_type, four_bits = arguments[2], arguments[2].dtype == types.uint8
    loaded = ir.VectorType(ir.IntType(8), LANES if four_bits else 2 * LANES)

    def code(context: Any, b: Any, signature: Any, args: Any) -> Any:
        arrays = [
            context.make_array(kind)(context, b, value)
            for kind, value in zip(signature.args, args, strict=True)
            if isinstance(kind, types.Array)
        ]
        (x, x_scales, values, scales, bias, y), (first, row) = arrays, args[5:7]

        def number(n: int) -> Any:
            return ir.Constant(INT64, n)

        def vector_at(array: Any, place: Any) -> Any:
            return b.bitcast(b.gep(array.data, [place]), FLOATS.as_pointer())

        n_in, n_out = b.extract_value(x.shape, 1), b.extract_value(y.shape, 1)
        n_pairs = b.lshr(n_in, number(1))
        # rows beyond the last are the last one, computed again
        last = b.sub(b.extract_value(x.shape, 0), number(1))
        rows = [b.add(row, number(r)) for r in range(n_rows)]
        rows = [b.select(b.icmp_signed("<", r, last), r, last) for r in rows]
        inputs = [b.bitcast(b.gep(x.data, [b.mul(r, n_in)]), INT32.as_pointer()) for r in rows]
        panels = [b.add(first, number(LANES * panel)) for panel in range(COLUMNS // LANES)]
        bytes_a_row = b.lshr(n_in, number(1)) if four_bits else n_in
        weights = [b.bitcast(b.gep(values.data, [b.mul(n, bytes_a_row)]), loaded.as_pointer()) for n in panels]

        fma = cgutils.get_or_insert_function(b.module, ir.FunctionType(FLOATS, [FLOATS] * 3), f"llvm.fma.v{LANES}f32")
        before = b.block
        sum_up, multiply, convert, end = (b.append_basic_block(name) for name in ("sum", "multiply", "convert", "end"))
        b.branch(sum_up)

        b.position_at_end(sum_up)  # the next pairs whose products an int32 holds
        start = b.phi(INT64)
        start.add_incoming(number(0), before)
        totals = [b.phi(FLOATS) for _ in range(n_rows * len(panels))]
        for total in totals:
            total.add_incoming(constant(0.0, FLOATS), before)
        stop = b.add(start, number(PAIRS_PER_GROUP if four_bits else PAIRS_PER_SUM))
        stop = b.select(b.icmp_signed("<", stop, n_pairs), stop, n_pairs)
        b.branch(multiply)

        b.position_at_end(multiply)
        pair = b.phi(INT64)
        pair.add_incoming(start, sum_up)
        sums = [[b.phi(INTS) for _ in totals] for _ in range(steps)]
        further = []
        for step, side in enumerate(sums):
            place = b.add(pair, number(step))
            numbers = [pairs_of_panel(b, pointer, place, four_bits) for pointer in weights]
            if not four_bits and step % 2 == 0:  # 4 bits are no faster with it
                for pointer in weights:
                    fetch(b, b.gep(pointer, [b.add(place, number(AHEAD))]))
            both = [b.load(b.gep(pointer, [place]), align=1) for pointer in inputs]
            both = [b.bitcast(repeated(b, two, INTS), SHORTS) for two in both]
            new = [add_products(b, side[i], numbers[i % len(panels)], both[i // len(panels)]) for i in range(len(side))]
            for sum_phi, value in zip(side, new, strict=True):
                sum_phi.add_incoming(constant(0), sum_up)
                sum_phi.add_incoming(value, multiply)
            further.append(new)
        following = b.add(pair, number(steps))
        pair.add_incoming(following, multiply)
        b.cbranch(b.icmp_signed("<", following, stop), multiply, convert)

        b.position_at_end(convert)
        one = constant(1.0, FLOATS)
        group_scales = [one] * len(panels)
        if four_bits:
            n_groups, group = b.lshr(n_in, number(5)), b.lshr(start, number(4))
            places = [b.add(b.mul(n, n_groups), b.mul(group, number(LANES))) for n in panels]
            group_scales = [b.load(vector_at(scales, place), align=1) for place in places]
        results = []
        for i, total in enumerate(totals):
            exact = further[0][i]
            for side in further[1:]:
                exact = b.add(exact, side[i])
            results.append(b.call(fma, [b.sitofp(exact, FLOATS), group_scales[i % len(panels)], total]))
            total.add_incoming(results[-1], convert)
        start.add_incoming(stop, convert)
        b.cbranch(b.icmp_signed("<", stop, n_pairs), sum_up, end)

        b.position_at_end(end)
        for panel, n in enumerate(panels):
            row_scales = one if four_bits else b.load(vector_at(scales, n), align=1)
            biases = b.load(vector_at(bias, n), align=1)
            for r, m in enumerate(rows):
                x_scale = repeated(b, b.load(b.gep(x_scales.data, [m])), FLOATS)
                result = b.call(fma, [results[r * len(panels) + panel], b.fmul(row_scales, x_scale), biases])
                b.store(result, vector_at(y, b.add(b.mul(m, n_out), n)), align=1)
        return context.get_dummy_value()

    assert values_type.dtype in (types.int8, types.uint8)
    return types.void(*arguments), code


@intrinsic
def tile_of_8(
    context: Any, x: Any, x_scales: Any, values: Any, scales: Any, bias: Any, first: Any, row: Any, y: Any
) -> Typed:
    """
    y (rows, n_out)[row : row + 8, first : first + 32] = x @ weight.T + bias, of as many rows as there are. x: (rows,
    n_in) int16; x_scales: (rows,), what the products of a row are multiplied by; bias: (n_out,).
    """
    return tile(8, 1, (x, x_scales, values, scales, bias, types.intp, types.intp, y))


@intrinsic
def tile_of_4(
    context: Any, x: Any, x_scales: Any, values: Any, scales: Any, bias: Any, first: Any, row: Any, y: Any
) -> Typed:
    """tile_of_8 for four rows."""
    return tile(4, 1, (x, x_scales, values, scales, bias, types.intp, types.intp, y))


@intrinsic
def tile_of_1(
    context: Any, x: Any, x_scales: Any, values: Any, scales: Any, bias: Any, first: Any, row: Any, y: Any
) -> Typed:
    """tile_of_8 for one row."""
    return tile(1, 4, (x, x_scales, values, scales, bias, types.intp, types.intp, y))
