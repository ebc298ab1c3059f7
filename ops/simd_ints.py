"""
Sixteen int32 at once, for numba, as ops/simd.py has floats: what makes int16 of float32, with the size of the largest
number of a row.

    bits = int_zeros()
    for k in range(0, n, LANES):
        bits = larger_magnitudes(row, k, bits)
    size = float_of_bits(largest(bits))
    store_rounded(x, k, numbers)              # float32 in a vector, here multiplied by 32767 / size
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


class Int32x16(types.Type):
    """numba's type of a vector of sums."""

    def __init__(self) -> None:
        super().__init__(name="Sums")


ints = Int32x16()


@register_default(Int32x16)
class Int32x16Model(PrimitiveModel):
    """How LLVM keeps it."""

    def __init__(self, manager: Any, numba_type: Int32x16) -> None:
        super().__init__(manager, numba_type, INTS)


@intrinsic
def int_zeros(context: Any) -> Typed:
    """A vector of sums that are 0."""
    return ints(), lambda context, builder, signature, args: constant(0)


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
