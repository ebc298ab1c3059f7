"""
32 small integers at once, for numba, as ops/simd.py has floats: products of int16 are summed in pairs, as int32. That
is one instruction where the processor has VNNI, and two with AVX2; sums of integers are exact, so that their order
does not matter.

    sums = int_zeros()
    for k in range(0, n, 2 * LANES):
        sums = multiply_add(load_shorts(weight, k), load_shorts(x, k), sums)      # arrays of int8 or int16
    y = total(as_floats(sums))
"""

# pyright: reportPrivateImportUsage=false
# (numba's own guide to new types imports these names from where they are imported here)

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel, register_default
from numba.extending import intrinsic

from ops.simd import FLOATS, INTS, LANES, Typed, constant, read, vector

SHORTS = ir.VectorType(ir.IntType(16), 2 * LANES)
PRODUCTS = ir.VectorType(ir.IntType(32), 2 * LANES)

Ints = Any  # a value of the type Int32x16, which exists in compiled code only
Shorts = Any  # likewise of Int16x32


class Int32x16(types.Type):
    """numba's type of a vector of sums."""

    def __init__(self) -> None:
        super().__init__(name="Sums")


class Int16x32(types.Type):
    """numba's type of a vector of 32 small numbers."""

    def __init__(self) -> None:
        super().__init__(name="Shorts")


ints, shorts = Int32x16(), Int16x32()


@register_default(Int32x16)
class Int32x16Model(PrimitiveModel):
    """How LLVM keeps it."""

    def __init__(self, manager: Any, numba_type: Int32x16) -> None:
        super().__init__(manager, numba_type, INTS)


@register_default(Int16x32)
class Int16x32Model(PrimitiveModel):
    """How LLVM keeps it."""

    def __init__(self, manager: Any, numba_type: Int16x32) -> None:
        super().__init__(manager, numba_type, SHORTS)


@intrinsic
def int_zeros(context: Any) -> Typed:
    """A vector of sums that are 0."""
    return ints(), lambda context, builder, signature, args: constant(0)


@intrinsic
def load_shorts(context: Any, array: Any, place: Any) -> Typed:
    """The 32 numbers from array.flat[place] on, int16 or int8."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = read(context, builder, signature.args[0], *args, n=2 * LANES)
        return numbers if array.dtype == types.int16 else builder.sext(numbers, SHORTS)

    return shorts(array, types.intp), code


@intrinsic
def load_nibbles(context: Any, array: Any, place: Any) -> Typed:
    """The 32 signed 4-bit numbers of the sixteen bytes from array.flat[place] on: the lower ones of all, the upper."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        half = ir.VectorType(ir.IntType(16), LANES)
        numbers = builder.sext(read(context, builder, signature.args[0], *args), half)
        lower = builder.ashr(builder.shl(numbers, constant(12, half)), constant(12, half))
        order = ir.Constant(PRODUCTS, list(range(2 * LANES)))
        return builder.shuffle_vector(lower, builder.ashr(numbers, constant(4, half)), order)

    return shorts(array, types.intp), code


@intrinsic
def multiply_add(context: Any, a: Any, b: Any, sums: Any) -> Typed:
    """sums + a * b, each two neighbouring products in one sum."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, b, sums = args
        products = builder.mul(builder.sext(a, PRODUCTS), builder.sext(b, PRODUCTS))
        halves = [ir.Constant(INTS, list(range(first, 2 * LANES, 2))) for first in (0, 1)]
        none = ir.Constant(PRODUCTS, ir.Undefined)
        return builder.add(sums, builder.add(*(builder.shuffle_vector(products, none, half) for half in halves)))

    return ints(shorts, shorts, ints), code


@intrinsic
def int_add(context: Any, a: Any, b: Any) -> Typed:
    """a + b"""
    return ints(ints, ints), lambda context, builder, signature, args: builder.add(*args)


@intrinsic
def as_floats(context: Any, sums: Any) -> Typed:
    """The sixteen sums as float32, rounded to the nearest."""
    return vector(ints), lambda context, builder, signature, args: builder.sitofp(args[0], FLOATS)


@intrinsic
def larger_magnitudes(context: Any, array: Any, place: Any, bits: Any) -> Typed:
    """
    Of the sizes of the sixteen float32 from array.flat[place] on, and of `bits`, the larger ones, as the bits of
    float32: these are ordered as the numbers are, and inf and nan are larger than any.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, place, bits = args
        numbers = builder.bitcast(read(context, builder, signature.args[0], array, place), INTS)
        sizes = builder.and_(numbers, constant(0x7FFFFFFF))
        return builder.select(builder.icmp_unsigned(">", sizes, bits), sizes, bits)

    return ints(array, types.intp, ints), code


@intrinsic
def largest(context: Any, sums: Any) -> Typed:
    """The largest of the sixteen."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        name = f"llvm.vector.reduce.umax.v{LANES}i32"
        kind = ir.FunctionType(ir.IntType(32), [INTS])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    return types.uint32(ints), code


@intrinsic
def store_rounded(context: Any, array: Any, place: Any, value: Any) -> Typed:
    """Write sixteen float32, rounded to the nearest, as int16 from array.flat[place] on."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array_value, place, value = args
        kind = ir.FunctionType(FLOATS, [FLOATS])
        rint = cgutils.get_or_insert_function(builder.module, kind, f"llvm.rint.v{LANES}f32")
        half = ir.VectorType(ir.IntType(16), LANES)
        numbers = builder.trunc(builder.fptosi(builder.call(rint, [value]), INTS), half)
        target = context.make_array(array)(context, builder, array_value)
        builder.store(numbers, builder.bitcast(builder.gep(target.data, [place]), half.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), code
