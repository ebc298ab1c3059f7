"""
Sixteen float32 at once, for numba: LLVM lays them out as the processor has it, one register of AVX-512, two of AVX2,
four of SSE or NEON. What order a sum is taken in is said here, not chosen by a compiler: it is the same for one
sequence and for many.

    acc = zeros()
    for k in range(0, n, LANES):
        acc = fma(load(weight, k), load(x, k), acc)          # arrays of float32, int8, or bfloat16 seen as uint16
    y = total(acc)
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel, register_default
from numba.extending import intrinsic

LANES = 16
FLOAT, FLOATS = ir.FloatType(), ir.VectorType(ir.FloatType(), LANES)
INTS = ir.VectorType(ir.IntType(32), LANES)


class Float32x16(types.Type):
    def __init__(self):
        super().__init__(name="Lanes")


lanes = Float32x16()


@register_default(Float32x16)
class Float32x16Model(PrimitiveModel):
    def __init__(self, manager, type):
        super().__init__(manager, type, FLOATS)


def elementwise(number, type=INTS):
    return ir.Constant(type, [number] * LANES)


def read(context, builder, array_type, array, place):
    """The vector of the sixteen numbers from array.flat[place] on, of the array's own kind."""
    array = context.make_array(array_type)(context, builder, array)
    kind = ir.VectorType(context.get_data_type(array_type.dtype), LANES)
    pointer = builder.bitcast(builder.gep(array.data, [place]), kind.as_pointer())
    return builder.load(pointer, align=1)


@intrinsic
def zeros(context):
    return lanes(), lambda context, builder, signature, args: elementwise(0.0, FLOATS)


@intrinsic
def load(context, array, place):
    """The sixteen numbers from array.flat[place] on, as float32."""

    def code(context, builder, signature, args):
        found = read(context, builder, signature.args[0], *args)
        if array.dtype == types.float32:
            return found
        if array.dtype == types.uint16:  # a bfloat16 is the upper half of a float32
            return builder.bitcast(builder.shl(builder.zext(found, INTS), elementwise(16)), FLOATS)
        return builder.sitofp(builder.sext(found, INTS), FLOATS)

    return lanes(array, types.intp), code


@intrinsic
def nibbles(context, array, place):
    """(lower, upper): the signed 4-bit numbers of the sixteen bytes from array.flat[place] on, as float32."""

    def code(context, builder, signature, args):
        found = builder.sext(read(context, builder, signature.args[0], *args), INTS)
        lower = builder.ashr(builder.shl(found, elementwise(28)), elementwise(28))
        pair = [builder.sitofp(half, FLOATS) for half in (lower, builder.ashr(found, elementwise(4)))]
        return context.make_tuple(builder, signature.return_type, pair)

    return types.UniTuple(lanes, 2)(array, types.intp), code


@intrinsic
def store(context, array, place, value):
    """Write sixteen numbers from array.flat[place] on, float32 or bfloat16 (seen as uint16), rounded to the nearest."""

    def code(context, builder, signature, args):
        array_value, place, value = args
        target = context.make_array(array)(context, builder, array_value)
        if array.dtype == types.uint16:
            bits = builder.bitcast(value, INTS)
            even = builder.and_(builder.lshr(bits, elementwise(16)), elementwise(1))
            bits = builder.add(builder.add(bits, elementwise(0x7FFF)), even)
            value = builder.trunc(builder.lshr(bits, elementwise(16)), ir.VectorType(ir.IntType(16), LANES))
        pointer = builder.bitcast(builder.gep(target.data, [place]), value.type.as_pointer())
        builder.store(value, pointer, align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), code


@intrinsic
def splat(context, value):
    """One float32 in all lanes."""

    def code(context, builder, signature, args):
        one = builder.insert_element(ir.Constant(FLOATS, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(one, ir.Constant(FLOATS, ir.Undefined), elementwise(0))

    return lanes(types.float32), code


@intrinsic
def fma(context, a, b, c):
    """a * b + c, rounded once."""

    def code(context, builder, signature, args):
        name = f"llvm.fma.v{LANES}f32"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(FLOATS, [FLOATS] * 3), name)
        return builder.call(function, args)

    return lanes(lanes, lanes, lanes), code


@intrinsic
def add(context, a, b):
    return lanes(lanes, lanes), lambda context, builder, signature, args: builder.fadd(*args)


@intrinsic
def multiply(context, a, b):
    return lanes(lanes, lanes), lambda context, builder, signature, args: builder.fmul(*args)


def fold(builder, segment, x, y=None):
    """Of each segment of a vector, or of two laid end to end, the lower half plus the upper half, end to end."""
    n = x.type.count * (1 if y is None else 2)
    halves = [[i for i in range(n) if (i % segment < segment // 2) == lower] for lower in (True, False)]
    y = ir.Constant(x.type, ir.Undefined) if y is None else y
    kind = ir.VectorType(ir.IntType(32), n // 2)
    return builder.fadd(*(builder.shuffle_vector(x, y, ir.Constant(kind, half)) for half in halves))


@intrinsic
def total(context, value):
    """The sum of the sixteen, halves onto halves."""

    def code(context, builder, signature, args):
        (value,) = args
        for segment in (16, 8, 4, 2):
            value = fold(builder, segment, value)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return types.float32(lanes), code


@intrinsic
def totals(context, a, b, c, d):
    """(total(a), total(b), total(c), total(d)), to the bit, in a third of the steps."""

    def code(context, builder, signature, args):
        a, b, c, d = args
        four = fold(builder, 8, fold(builder, 16, a, b), fold(builder, 16, c, d))
        for segment in (4, 2):
            four = fold(builder, segment, four)
        found = [builder.extract_element(four, ir.Constant(ir.IntType(32), i)) for i in range(4)]
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(types.float32, 4)(lanes, lanes, lanes, lanes), code


@intrinsic
def float_of_bits(context, bits):
    """The float32 with these 32 bits."""
    return types.float32(types.uint32), lambda context, builder, signature, args: builder.bitcast(args[0], FLOAT)
