"""
The blocks of GPT-2 and its head for a few tokens on a CPU, in one call that threads share out (ops/crew.py): one
leads, the others help. The numbers are the same to the bit whoever computes which block.

All that a step computes with is known by its address, so that a model of any number of layers is one compiled function
with few arguments, which numba compiles in seconds. `step` is an array of int64: sizes and addresses, at the places
below; then 16 addresses for each layer. `kinds` are four numbers, of which only the types count: those of the layers'
values, the embedding's, the cache's and the products' inputs. inference/cpu_decoder.py makes both.
"""

# pyright: reportCallIssue=false, reportArgumentType=false
# (numba's intrinsics are called without the context that they are declared with)

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import int64, njit, types
from numba.extending import overload
from numba.np.numpy_support import as_dtype, carray

from ops.cpu_block import attend, attend_four, gelu, layer_norm
from ops.cpu_dot import GROUP_SIZE, INTERNAL, OPTIONS, Array, linear_block, prepare, read_row
from ops.crew import (
    LAYER,
    PHASE,
    ROWS,
    SPINS,
    STOP,
    apart,
    claim,
    finish,
    finished_by,
    open_phase,
    pause,
    peek,
    pointer,
)  # fmt: skip
from ops.simd import LANES, add, load, store

# places in `step`: sizes
N_LAYER, N_EMBD, N_HEAD, N_VOCAB, BLOCK_SIZE, N_SLOTS, N_WORKERS, PART_SIZE = range(8)
# addresses: float32 of R rows, R being the tokens for which there is room
X, Y, QKV, HIDDEN = range(8, 12)  # the tokens' hidden states (R, C), and what is in between: (R, C), (R, 3 C), (R, 4 C)
INPUTS, INPUT_SCALES = 12, 13  # of a product: (R * 4 C,), (R,)
PARTS = 14  # (N_WORKERS, PART_SIZE): what the leader and each helper computed
OWN, DONE = 15, 16  # for each block: whether the leader computed it; its phase's ticket and the helper that did
SLOTS, POSITIONS = 17, 18  # (R,) int64: the row of the cache that a token belongs to, and its place there
KEYS, VALUES = 19, 20  # (n_layer, slots, n_head, block_size, head_size)
WTE, WPE, NORM = 21, 24, 25  # the embedding's values, scales and bias; of positions; the last norm's weight and bias
LAYERS = 32
# places in the 16 addresses of a layer: values, scales and bias of the four matrices, then weight and bias of the norms
LAYER_SIZE, NORMS = 16, 12
# what a phase computes: the product with one of a layer's four matrices, in this order, its heads, or the logits;
# passed as int64(ATTN), since for each literal numba would compile the functions anew
ATTN, ATTN_PROJ, FC, FC_PROJ, ATTENTION, HEAD = range(6)
BLOCK_WORK = 48 * 1024  # multiplications of a block: about a microsecond
MIN_SHARED_WORK = 2 * BLOCK_WORK  # what is less work is not shared
MAX_BLOCKS = 2**14
WAIT = 3000  # times that the leader looks whether a block is done before it computes it again: 30 to 100 microseconds


def view(address: int, shape: tuple[int, ...], kind: Any) -> Array:
    """The array of this shape at an address, its numbers of the type of `kind`."""
    raise NotImplementedError  # in compiled code _view stands in its place


@overload(view)
def _view(address: Any, shape: Any, kind: Any) -> Callable:
    dtype = as_dtype(kind)

    def viewed(address: Any, shape: Any, kind: Any) -> Array:
        return carray(pointer(address), shape, dtype)

    return viewed


@njit(**OPTIONS, **INTERNAL)
def floats(step: Array, place: int, rows: int, columns: int) -> Array:
    """The array (rows, columns) of float32 whose address stands there."""
    return carray(pointer(step[place]), (rows, columns), np.float32)


@njit(**OPTIONS, **INTERNAL)
def integers(step: Array, place: int, n: int) -> Array:
    """The n int64 whose address stands there."""
    return carray(pointer(step[place]), (n,), np.int64)


def matrix(step: Array, place: int, n_out: int, n_in: int, kind: Any) -> tuple[Array, Array, Array]:
    """(values, scales, bias) of the matrix (n_out, n_in) whose addresses begin there, as ops/cpu_dot.py has them."""
    raise NotImplementedError  # in compiled code _matrix stands in its place


@overload(matrix)
def _matrix(step: Any, place: Any, n_out: Any, n_in: Any, kind: Any) -> Callable:
    dtype = as_dtype(kind)

    def whole(step: Any, place: Any, n_out: Any, n_in: Any, kind: Any) -> tuple[Array, Array, Array]:
        return (
            carray(pointer(step[place]), (n_out, n_in), dtype),
            carray(pointer(step[place + 1]), (n_out, 1), np.float32),
            carray(pointer(step[place + 2]), (n_out,), np.float32),
        )

    def eight_bits(step: Any, place: Any, n_out: Any, n_in: Any, kind: Any) -> tuple[Array, Array, Array]:
        return (
            carray(pointer(step[place]), (n_out // LANES, n_in // 2, LANES, 2), dtype),
            carray(pointer(step[place + 1]), (n_out, 1), np.float32),
            carray(pointer(step[place + 2]), (n_out,), np.float32),
        )

    def four_bits(step: Any, place: Any, n_out: Any, n_in: Any, kind: Any) -> tuple[Array, Array, Array]:
        return (
            carray(pointer(step[place]), (n_out // LANES, n_in // 2, LANES), dtype),
            carray(pointer(step[place + 1]), (n_out // LANES, n_in // GROUP_SIZE, LANES), np.float32),
            carray(pointer(step[place + 2]), (n_out,), np.float32),
        )

    return {types.int8: eight_bits, types.uint8: four_bits}.get(kind, whole)


@njit(**OPTIONS, **INTERNAL)
def n_columns(phase: int, step: Array) -> int:
    """Columns of what a phase computes."""
    if phase == HEAD:
        return step[N_VOCAB]
    if phase == ATTN:
        return 3 * step[N_EMBD]
    return 4 * step[N_EMBD] if phase == FC else step[N_EMBD]


@njit(**OPTIONS, **INTERNAL)
def columns_of_block(phase: int, rows: int, step: Array) -> int:
    """How many columns of what a phase computes are a block: a head's, or a multiple of 32, as tiles are."""
    if phase == ATTENTION:
        return step[N_EMBD] // step[N_HEAD]
    n_in = step[N_EMBD] * (4 if phase == FC_PROJ else 1)
    wanted = max(BLOCK_WORK // (n_in * rows), n_columns(phase, step) // MAX_BLOCKS + 4)
    return max(wanted // GROUP_SIZE * GROUP_SIZE, GROUP_SIZE)


@njit(**OPTIONS, **INTERNAL)
def product_block(
    phase: int, layer: int, first: int, end: int, rows: int, out: Array, step: Array, kinds: tuple
) -> None:
    """Columns first to end - 1 of a product, to those of `out` (rows, columns)."""
    C = step[N_EMBD]
    n_in = 4 * C if phase == FC_PROJ else C
    x = view(step[INPUTS], (rows, n_in), kinds[3])
    x_scales = floats(step, INPUT_SCALES, 1, rows)[0]
    if phase == HEAD:
        values, scales, bias = matrix(step, WTE, out.shape[1], n_in, kinds[1])
        linear_block(x, x_scales, values, scales, bias, first, end, out)
    else:
        place = LAYERS + LAYER_SIZE * layer + 3 * phase
        v, s, b = matrix(step, place, out.shape[1], n_in, kinds[0])
        linear_block(x, x_scales, v, s, b, first, end, out)
    if phase == FC:
        gelu(out, first, end)


@njit(**OPTIONS, **INTERNAL)
def cached(layer: int, place: int, step: Array, kinds: tuple) -> Array:
    """The layer's KEYS or VALUES in the cache, flat."""
    shape = (step[N_LAYER], step[N_SLOTS] * step[BLOCK_SIZE] * step[N_EMBD])
    return view(step[place], shape, kinds[2])[layer]


@njit(**OPTIONS, **INTERNAL)
def heads_block(layer: int, h: int, m: int, last: int, out: Array, step: Array, kinds: tuple) -> None:
    """
    Head h's outputs for rows m to last - 1, four at most, to its columns of `out` (rows, C). A row is a token of the
    sequence in its row of the cache, at its position, and sees the tokens up to there.
    """
    n_head, block_size, C = step[N_HEAD], step[BLOCK_SIZE], step[N_EMBD]
    size, keys, values = C // n_head, cached(layer, KEYS, step, kinds), cached(layer, VALUES, step, kinds)
    slots, positions = integers(step, SLOTS, last), integers(step, POSITIONS, last)
    qkv = floats(step, QKV, last, 3 * C)
    are_neighbours = last == m + 4 and slots[m] == slots[m + 3] and positions[m] + 3 == positions[m + 3]
    if are_neighbours and size >= 2 * LANES:
        start = (slots[m] * n_head + h) * block_size * size
        attend_four(qkv, m, h, size, positions[m + 3] + 1, start, keys, values, out)
    else:
        for r in range(m, last):
            start = (slots[r] * n_head + h) * block_size * size
            attend(qkv, r, h, size, positions[r] + 1, start, keys, values, out)


@njit(**OPTIONS, **INTERNAL)
def place_of_block(phase: int, block: int, rows: int, step: Array) -> tuple[int, int, int, int]:
    """(first, end, m, last): the block is columns first to end - 1 of rows m to last - 1."""
    size = columns_of_block(phase, rows, step)
    if phase == ATTENTION:  # the rows that see the same keys come one after the other
        groups = (rows + 3) // 4
        h, m = block // groups, block % groups * 4
        return h * size, min((h + 1) * size, step[N_EMBD]), m, min(m + 4, rows)
    return block * size, min((block + 1) * size, n_columns(phase, step)), 0, rows


@njit(**OPTIONS, **INTERNAL)
def compute(phase: int, layer: int, block: int, rows: int, out: Array, step: Array, kinds: tuple) -> None:
    """The block, to its columns of `out`, which has so many rows."""
    apart()
    first, end, m, last = place_of_block(phase, block, rows, step)
    if first < end and phase == ATTENTION:
        heads_block(layer, first // (end - first), m, last, out, step, kinds)
    elif first < end:
        product_block(phase, layer, first, end, rows, out, step, kinds)


@njit(**OPTIONS, **INTERNAL)
def part_of(worker: int, phase: int, block: int, rows: int, step: Array) -> Array:
    """
    Where the worker computes the block, as an array whose columns first to end - 1 it is. They lie close together: one
    core reads what another has written far faster so.
    """
    first, end, _, _ = place_of_block(phase, block, rows, step)
    place = worker * step[PART_SIZE] + first * (rows - 1)  # (0, first) is first * rows numbers into the part
    return view(step[PARTS] + 4 * place, (rows, end - first), np.float32(0))


@njit(**OPTIONS, **INTERNAL)
def adds(phase: int) -> bool:
    """Whether what the phase computes is added to its target: the two projections' is."""
    return phase == ATTN_PROJ or phase == FC_PROJ


@njit(**OPTIONS, **INTERNAL)
def take_over(phase: int, block: int, rows: int, worker: int, target: Array, step: Array) -> None:
    """What the worker has computed as the block, into target (rows, columns)."""
    apart()
    first, end, m, last = place_of_block(phase, block, rows, step)
    part, is_sum = part_of(worker, phase, block, rows, step), adds(phase)
    for r in range(m, last):
        for c in range(first, end, LANES):
            place, numbers = r * target.shape[1] + c, load(part, r * part.shape[1] + c)
            store(target, place, add(load(target, place), numbers) if is_sum else numbers)


@njit(**OPTIONS, **INTERNAL)
def lead(phase: int, layer: int, block: int, rows: int, target: Array, step: Array, kinds: tuple) -> None:
    """The block, computed by the leader, into target (rows, columns): at once, where nothing is added."""
    apart()
    leader = int64(0)  # not a literal, for which functions would be compiled anew
    if adds(phase):
        compute(phase, layer, block, rows, part_of(leader, phase, block, rows, step), step, kinds)
        take_over(phase, block, rows, leader, target, step)
    else:
        compute(phase, layer, block, rows, target, step, kinds)


@njit(**OPTIONS, **INTERNAL)
def share(phase: int, layer: int, rows: int, target: Array, state: Array, step: Array, kinds: tuple) -> None:
    """All blocks of the phase, into target (rows, columns): what helpers compute in time by them, the rest here."""
    apart()
    size, n_blocks = columns_of_block(phase, rows, step), step[N_HEAD] * ((rows + 3) // 4)
    work = 2 * rows * (integers(step, POSITIONS, rows)[rows - 1] + 1) * step[N_EMBD]
    if phase != ATTENTION:
        n_blocks = (n_columns(phase, step) + size - 1) // size
        work = n_blocks * BLOCK_WORK
    if step[N_WORKERS] == 1 or work < MIN_SHARED_WORK:
        for block in range(n_blocks):
            lead(phase, layer, block, rows, target, step, kinds)
        return
    own, done, n_own = integers(step, OWN, n_blocks), integers(step, DONE, n_blocks), 0
    for block in range(n_blocks):
        own[block] = 0
    state[PHASE], state[LAYER], state[ROWS] = phase, layer, rows
    ticket = open_phase(state, n_blocks)
    while True:
        block, _ = claim(state)
        if block < 0:
            break
        lead(phase, layer, block, rows, target, step, kinds)
        own[block] = 1
        n_own += 1
    for block in range(n_blocks if n_own < n_blocks else 0):
        if not own[block]:
            worker = finished_by(done, block, ticket, WAIT)
            if worker < 0:
                lead(phase, layer, block, rows, target, step, kinds)
            else:
                take_over(phase, block, rows, worker, target, step)


@njit(**OPTIONS)
def help(state: Array, step: Array, kinds: tuple, number: int) -> None:
    """The work of helper `number`: blocks as long as there are some, until there were none for SPINS."""
    done, spins = integers(step, DONE, MAX_BLOCKS), 0
    while spins < SPINS and peek(state, STOP) == 0:
        block, ticket = claim(state)
        if block >= 0:
            phase, rows = state[PHASE], state[ROWS]
            part = part_of(number + 1, phase, block, rows, step)
            compute(phase, state[LAYER], block, rows, part, step, kinds)
            finish(done, block, ticket, number + 1)
            spins = 0
        else:
            pause()
            spins += 1


@njit(**OPTIONS, **INTERNAL)
def norm(place: int, x: Array, y: Array, step: Array) -> None:
    """The layer norm of x (rows, C), into y; its weight's and its bias's address stand there."""
    apart()
    C = x.shape[1]
    layer_norm(x, floats(step, place, 1, C)[0], floats(step, place + 1, 1, C)[0], y)


@njit(**OPTIONS, **INTERNAL)
def write_and_attend(layer: int, rows: int, state: Array, step: Array, kinds: tuple) -> None:
    """The first `rows` tokens' keys and values from QKV into the cache; then the heads' outputs in Y."""
    n_head, block_size, C = step[N_HEAD], step[BLOCK_SIZE], step[N_EMBD]
    size, keys, values = C // n_head, cached(layer, KEYS, step, kinds), cached(layer, VALUES, step, kinds)
    slots, positions, qkv = integers(step, SLOTS, rows), integers(step, POSITIONS, rows), floats(step, QKV, rows, 3 * C)
    for m in range(rows):
        for h in range(n_head):
            place = ((slots[m] * n_head + h) * block_size + positions[m]) * size
            for c in range(0, size, LANES):
                store(keys, place + c, load(qkv, m * 3 * C + C + h * size + c))
                store(values, place + c, load(qkv, m * 3 * C + 2 * C + h * size + c))
    share(int64(ATTENTION), layer, rows, floats(step, Y, rows, C), state, step, kinds)


@njit(**OPTIONS)
def attention(layer: int, rows: int, state: Array, step: Array, kinds: tuple) -> None:
    """write_and_attend, for a caller in Python."""
    write_and_attend(layer, rows, state, step, kinds)


@njit(**OPTIONS, **INTERNAL)
def prepare_inputs(rows: Array, step: Array, kinds: tuple) -> None:
    """The next product's inputs: rows (rows, n_in)."""
    apart()
    prepare(rows, view(step[INPUTS], rows.shape, kinds[3]), floats(step, INPUT_SCALES, 1, rows.shape[0])[0])


@njit(**OPTIONS)
def forward(ids: Array, last: Array, logits: Array, state: Array, step: Array, kinds: tuple) -> None:
    """
    Logits (len(last), rows of the embedding) after the tokens of `ids` whose indices are in `last`. Where ids[i]
    stands is at SLOTS and POSITIONS.
    """
    rows, C = len(ids), step[N_EMBD]
    x, y, qkv, hidden = (
        floats(step, X, rows, C),
        floats(step, Y, rows, C),
        floats(step, QKV, rows, 3 * C),
        floats(step, HIDDEN, rows, 4 * C),
    )
    values, scales, _ = matrix(step, WTE, step[N_VOCAB], C, kinds[1])
    wpe, positions = floats(step, WPE, step[BLOCK_SIZE], C), integers(step, POSITIONS, rows)
    for m in range(rows):
        read_row(values, scales, ids[m], x[m])
        for c in range(C):
            x[m, c] += wpe[positions[m], c]
    for layer in range(step[N_LAYER]):
        norms = LAYERS + LAYER_SIZE * layer + NORMS
        norm(norms, x, y, step)
        prepare_inputs(y, step, kinds)
        share(int64(ATTN), layer, rows, qkv, state, step, kinds)
        write_and_attend(layer, rows, state, step, kinds)
        prepare_inputs(y, step, kinds)
        share(int64(ATTN_PROJ), layer, rows, x, state, step, kinds)
        norm(norms + 2, x, y, step)
        prepare_inputs(y, step, kinds)
        share(int64(FC), layer, rows, hidden, state, step, kinds)
        prepare_inputs(hidden, step, kinds)
        share(int64(FC_PROJ), layer, rows, x, state, step, kinds)
    if len(last) == 0:
        return
    for i in range(len(last)):
        for c in range(C):  # not y[i] = ..., which takes numba seconds to compile
            y[i, c] = x[last[i], c]
    norm(NORM, y[: len(last)], y[: len(last)], step)
    prepare_inputs(y[: len(last)], step, kinds)
    share(int64(HEAD), int64(0), len(last), logits, state, step, kinds)
