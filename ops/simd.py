"""
Sixteen float32 at once, for numba: LLVM maps them to what the processor has, one register of AVX-512, two of AVX2, four
of SSE or NEON. The order of each sum is fixed here, not chosen by a compiler, so that one sequence and many give the
same numbers.

    acc = zeros()
    for k in range(0, n, LANES):
        acc = fma(load(weight, k), load(x, k), acc)          # arrays of float32, int8, or bfloat16 seen as uint16
    y = total(acc)
"""

# pyright: reportPrivateImportUsage=false
# (numba's own guide to new types imports these names from where they are imported here)

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel, register_default
from numba.extending import intrinsic

LANES = 16
FLOAT, FLOATS = ir.FloatType(), ir.VectorType(ir.FloatType(), LANES)
INTS = ir.VectorType(ir.IntType(32), LANES)

Vector = Any  # a value of the type Float32x16, which exists in compiled code only
Typed = tuple[Any, Any]  # what numba wants of an intrinsic: its signature, and the function that emits its code


class Float32x16(types.Type):
    """numba's type of a vector."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


vector = Float32x16()


@register_default(Float32x16)
class Float32x16Model(PrimitiveModel):
    """How LLVM keeps it."""

    def __init__(self, manager: Any, numba_type: Float32x16) -> None:
        super().__init__(manager, numba_type, FLOATS)


def constant(number: float, llvm_type: ir.VectorType = INTS) -> ir.Constant:
    """The number in all lanes."""
    return ir.Constant(llvm_type, [number] * llvm_type.count)


def read(context: Any, builder: Any, array_type: Any, array: Any, place: Any, n: int = LANES) -> Any:
    """The vector of the n numbers from array.flat[place] on, in the array's own dtype."""
    array = context.make_array(array_type)(context, builder, array)
    loaded_type = ir.VectorType(context.get_data_type(array_type.dtype), n)
    pointer = builder.bitcast(builder.gep(array.data, [place]), loaded_type.as_pointer())
    return builder.load(pointer, align=1)


def call(builder: Any, name: str, *args: Any) -> Any:
    """One of LLVM's functions of vectors, of as many as are given."""
    kind = ir.FunctionType(FLOATS, [FLOATS] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32"), args)


@intrinsic
def zeros(context: Any) -> Typed:
    """A vector of zeros."""
    return vector(), lambda context, builder, signature, args: constant(0.0, FLOATS)


@intrinsic
def load(context: Any, array: Any, place: Any) -> Typed:
    """The sixteen numbers from array.flat[place] on, as float32."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = read(context, builder, signature.args[0], *args)
        if array.dtype == types.float32:
            return numbers
        if array.dtype == types.uint16:  # a bfloat16 is the upper half of a float32
            return builder.bitcast(builder.shl(builder.zext(numbers, INTS), constant(16)), FLOATS)
        return builder.sitofp(builder.sext(numbers, INTS), FLOATS)

    return vector(array, types.intp), code


@intrinsic
def store(context: Any, array: Any, place: Any, value: Any) -> Typed:
    """Write sixteen numbers from array.flat[place] on, float32 or bfloat16 (seen as uint16), rounded to the nearest."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array_value, place, value = args
        target = context.make_array(array)(context, builder, array_value)
        if array.dtype == types.uint16:
            bits = builder.bitcast(value, INTS)
            even = builder.and_(builder.lshr(bits, constant(16)), constant(1))
            bits = builder.add(builder.add(bits, constant(0x7FFF)), even)
            value = builder.trunc(builder.lshr(bits, constant(16)), ir.VectorType(ir.IntType(16), LANES))
        pointer = builder.bitcast(builder.gep(target.data, [place]), value.type.as_pointer())
        builder.store(value, pointer, align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), code


@intrinsic
def splat(context: Any, value: Any) -> Typed:
    """One float32 in all lanes."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = builder.insert_element(ir.Constant(FLOATS, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(first, ir.Constant(FLOATS, ir.Undefined), constant(0))

    return vector(types.float32), code


@intrinsic
def fma(context: Any, a: Any, b: Any, c: Any) -> Typed:
    """a * b + c, rounded once."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return call(builder, "fma", *args)

    return vector(vector, vector, vector), code


@intrinsic
def add(context: Any, a: Any, b: Any) -> Typed:
    """a + b"""
    return vector(vector, vector), lambda context, builder, signature, args: builder.fadd(*args)


@intrinsic
def multiply(context: Any, a: Any, b: Any) -> Typed:
    """a * b"""
    return vector(vector, vector), lambda context, builder, signature, args: builder.fmul(*args)


@intrinsic
def subtract(context: Any, a: Any, b: Any) -> Typed:
    """a - b"""
    return vector(vector, vector), lambda context, builder, signature, args: builder.fsub(*args)


@intrinsic
def divide(context: Any, a: Any, b: Any) -> Typed:
    """a / b"""
    return vector(vector, vector), lambda context, builder, signature, args: builder.fdiv(*args)


@intrinsic
def larger(context: Any, a: Any, b: Any) -> Typed:
    """The larger of each two."""
    return vector(vector, vector), lambda context, builder, signature, args: call(builder, "maxnum", *args)


@intrinsic
def highest(context: Any, value: Any) -> Typed:
    """The largest of the sixteen."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(FLOAT, [FLOATS])
        name = f"llvm.vector.reduce.fmax.v{LANES}f32"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    return types.float32(vector), code


@intrinsic
def exp(context: Any, x: Any) -> Typed:
    """
    e ** x to a relative 4e-7: 2 ** n times a polynomial of the rest (Cephes, expf). More than 88 counts as 88, and less
    than -87 gives 0.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def number(value: float) -> ir.Constant:
            return constant(value, FLOATS)

        x = call(builder, "minnum", args[0], number(88.0))
        n = call(builder, "floor", call(builder, "fma", x, number(1.44269504), number(0.5)))
        rest = call(builder, "fma", n, number(-0.693147181), x)
        p = number(1.9875691e-4)
        for coefficient in (1.3981999e-3, 8.3334519e-3, 4.1665796e-2, 1.6666666e-1, 5.0000001e-1):
            p = call(builder, "fma", p, rest, number(coefficient))
        p = builder.fadd(call(builder, "fma", builder.fmul(p, rest), rest, rest), number(1.0))
        power = builder.bitcast(builder.shl(builder.add(builder.fptosi(n, INTS), constant(127)), constant(23)), FLOATS)
        is_there = builder.fcmp_ordered(">", x, number(-87.0))
        is_nan = builder.fcmp_unordered("uno", args[0], args[0])
        return builder.select(is_nan, args[0], builder.select(is_there, builder.fmul(p, power), number(0.0)))

    return vector(vector), code


def fold(builder: Any, segment: int, x: Any, y: Any = None) -> Any:
    """
    The lower half plus the upper half of each segment of a vector x, or of x and y laid end to end; the sums are laid
    end to end as well, in a vector of half the length.
    """
    n = x.type.count * (1 if y is None else 2)
    halves = [[i for i in range(n) if (i % segment < segment // 2) == lower] for lower in (True, False)]
    y = ir.Constant(x.type, ir.Undefined) if y is None else y
    kind = ir.VectorType(ir.IntType(32), n // 2)
    return builder.fadd(*(builder.shuffle_vector(x, y, ir.Constant(kind, half)) for half in halves))


@intrinsic
def total(context: Any, value: Any) -> Typed:
    """The sum of the sixteen, halves onto halves."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (value,) = args
        for segment in (16, 8, 4, 2):
            value = fold(builder, segment, value)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return types.float32(vector), code


@intrinsic
def totals(context: Any, a: Any, b: Any, c: Any, d: Any) -> Typed:
    """(total(a), total(b), total(c), total(d)), to the bit, in a third of the steps."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, b, c, d = args
        four = fold(builder, 8, fold(builder, 16, a, b), fold(builder, 16, c, d))
        for segment in (4, 2):
            four = fold(builder, segment, four)
        sums = [builder.extract_element(four, ir.Constant(ir.IntType(32), i)) for i in range(4)]
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(types.float32, 4)(vector, vector, vector, vector), code


@intrinsic
def float_of_bits(context: Any, bits: Any) -> Typed:
    """The float32 with these 32 bits."""
    return types.float32(types.uint32), lambda context, builder, signature, args: builder.bitcast(args[0], FLOAT)
