"""
Threads that share out one computation, so that a core which is taken away costs its own share and nothing more.

A phase of the computation is cut into blocks, and whoever is free claims the next one. One thread leads: it opens a
phase, claims blocks like the others, and waits for nobody: a block that a helper has claimed and not finished in time
(its core is taken) is computed again by the leader. So a helper writes what it computes to a place of its own, and
the leader takes it over if it was finished. A helper that wakes up later does no harm: its results carry the number
of a phase that is over.

The helpers run at the lowest priority: they take cores that nobody uses, never the leader's. They spin for some
milliseconds after the last block, since the next token comes sooner than a thread wakes up, then they sleep.

    ticket = open_phase(state, n_blocks)                  # the leader, in compiled code
    block, ticket = claim(state)                          # anybody; negative: none is left
    finish(done, block, ticket, helper)                   # a helper
"""

# pyright: reportCallIssue=false, reportArgumentType=false
# (numba's intrinsics are called without the context that they are declared with)

import contextlib
import os
import platform
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

Array = np.ndarray
Typed = tuple[Any, Any]  # what numba wants of an intrinsic: its signature, and the function that emits its code

LINE = 8  # int64s in a line of the cache: what one thread writes and others read stands on a line of its own
# places in the state: the phase's ticket, number of blocks and next block in one word; what the phase is; the end
WORD, PHASE, LAYER, ROWS, STOP, AWAKE = 0, LINE, LINE + 1, LINE + 2, 2 * LINE, 3 * LINE
BITS = 16  # of the word for the next block, and for the number of blocks; a phase has fewer than 2**15
MASK = 2**BITS - 1
TICKETS = 2**30 - 1  # after so many phases their numbers begin anew
MAX_HELPERS = 63
SPINS = 100_000  # times that a helper looks for work before it sleeps: 1.5 to 5 ms
# LLVM's name and arguments of the instruction that spares a core's other half in a loop
PAUSES = {
    **dict.fromkeys(("x86_64", "AMD64"), ("llvm.x86.sse2.pause", [])),
    **dict.fromkeys(("aarch64", "arm64"), ("llvm.aarch64.hint", [1])),
}
OPTIONS: dict[str, Any] = dict(nogil=True, cache=True, error_model="numpy")
INLINED = dict(OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def address(context: Any, builder: Any, array_type: Any, array: Any, place: Any) -> Any:
    """The pointer to array.flat[place]."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [place])


@intrinsic
def fetch_add(context: Any, array: Any, place: Any) -> Typed:
    """array.flat[place], int64, to which 1 is added in the same moment."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = address(context, builder, signature.args[0], *args)
        return builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "acq_rel")

    return types.int64(array, types.intp), code


@intrinsic
def peek(context: Any, array: Any, place: Any) -> Typed:
    """array.flat[place], int64, and after it all that its writer wrote before `publish`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(address(context, builder, signature.args[0], *args), "acquire", 8)

    return types.int64(array, types.intp), code


@intrinsic
def publish(context: Any, array: Any, place: Any, value: Any) -> Typed:
    """Write value to array.flat[place], int64, after all that was written before."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[2], address(context, builder, signature.args[0], *args[:2]), "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), code


@intrinsic
def pause(context: Any) -> Typed:
    """Nothing, for about 40 cycles."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if platform.machine() in PAUSES:
            name, numbers = PAUSES[platform.machine()]
            values = [ir.Constant(ir.IntType(32), number) for number in numbers]
            kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def pointer(context: Any, number: Any) -> Typed:
    """An address, int64, as what numba.carray takes."""
    return types.voidptr(types.int64), lambda context, builder, signature, args: builder.inttoptr(
        args[0], cgutils.voidptr_t
    )


@intrinsic
def apart(context: Any) -> Typed:
    """The function that calls this is compiled once, not into each caller: to the same arithmetic everywhere."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), code


@njit(**INLINED)
def open_phase(state: Array, n_blocks: int) -> int:
    """Let everybody claim blocks 0 to n_blocks - 1 of what the state says. Returns the phase's ticket."""
    ticket = ((state[WORD] >> 2 * BITS) + 1) & TICKETS
    publish(state, WORD, ticket << 2 * BITS | n_blocks << BITS)
    return ticket


@njit(**INLINED)
def claim(state: Array) -> tuple[int, int]:
    """(a block that is left to compute, its phase's ticket); the block is -1 where none is."""
    word = peek(state, WORD)
    if (word & MASK) >= (word >> BITS & MASK):
        return -1, 0
    word = fetch_add(state, WORD)
    block = word & MASK
    return block if block < (word >> BITS & MASK) else -1, word >> 2 * BITS


@njit(**INLINED)
def finish(done: Array, block: int, ticket: int, helper: int) -> None:
    """Say that this helper has computed the block."""
    publish(done, block, ticket << BITS | helper)


@njit(**INLINED)
def finished_by(done: Array, block: int, ticket: int, spins: int) -> int:
    """The helper that has computed the block, waited for; -1 if none does in so many spins."""
    for _ in range(spins):
        mark = peek(done, block)
        if mark >> BITS == ticket:
            return mark & MASK
        pause()
    return -1


def new_state(n_helpers: int) -> Array:
    """The state of so many helpers and their leader."""
    return np.zeros(AWAKE + LINE * n_helpers, np.int64)


class Crew:
    """
    n threads that run help(*args, number), which computes blocks and returns after SPINS in which there were none, or
    once state[STOP] is set. They end with this object, or with Python. keeps: what has to live as long as they.
    """

    def __init__(
        self, n: int, help: Callable[..., None], state: Array, args: tuple[Any, ...], keeps: Any = None
    ) -> None:
        self.state, self.events = state, [threading.Event() for _ in range(n)]
        self.flags = [state[AWAKE + LINE * number :][:1] for number in range(n)]
        state[STOP] = 0
        self.threads = [
            threading.Thread(target=serve, args=(event, number, help, state, args, keeps), daemon=True)
            for number, event in enumerate(self.events)
        ]
        for thread in self.threads:
            thread.start()
        self.stop = weakref.finalize(self, stop, state, self.events, self.threads)

    def wake(self) -> None:
        """Make those look for work that sleep."""
        for flag, event in zip(self.flags, self.events, strict=True):
            if not flag[0]:
                event.set()


def serve(
    event: threading.Event, number: int, help: Callable[..., None], state: Array, args: tuple[Any, ...], keeps: Any
) -> None:
    """The life of a helper. keeps: held by this frame."""
    if sys.platform == "linux":  # where a thread has a priority of its own
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
    while True:
        event.wait()
        event.clear()
        if state[STOP]:
            return
        state[AWAKE + LINE * number] = 1
        help(*args, number)
        state[AWAKE + LINE * number] = 0


def stop(state: Array, events: list[threading.Event], threads: list[threading.Thread]) -> None:
    """End the helpers, and wait until they have: what they read may be freed then."""
    state[STOP] = 1
    for event, thread in zip(events, threads, strict=True):
        event.set()
        if thread is not threading.current_thread():
            thread.join()
