"""
Which device, dtype and threads a process computes with, its rank under torchrun, and seeds. Everything is chosen
automatically and can be overridden: --device=cpu, --dtype=float32.
"""

import contextlib
import os
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from torch import Tensor

from runtime.errors import InputError

MAX_THREADS = 1024  # more than that no pool of threads starts
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Device:
    """Where this process computes. rank and world_size are torchrun's (0 and 1 without it)."""

    type: str  # cpu, cuda or mps
    name: str  # what torch calls it: cuda:1
    dtype: str  # of the matrix products; weights stay float32
    rank: int = 0
    world_size: int = 1

    def autocast(self) -> AbstractContextManager:
        """The context in which a forward pass runs."""
        if self.dtype == "float32":
            return contextlib.nullcontext()
        # without the cache a weight's copy in fewer bits lives no longer than its product
        return torch.autocast(self.type, DTYPES[self.dtype], cache_enabled=self.type != "cpu")

    def memory_mb(self) -> float:
        """The megabytes that this process holds of the device's memory; on a CPU of the machine's."""
        if self.type == "cuda":
            return torch.cuda.memory_reserved(self.name) / 1e6
        if self.type == "mps":
            return torch.mps.driver_allocated_memory() / 1e6
        return psutil.Process().memory_info().rss / 1e6

    def free_bytes(self) -> int:
        """The bytes that this process may use in all on the device."""
        if self.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.name)
            share = torch.cuda.get_per_process_memory_fraction(self.name)
            return min(free + torch.cuda.memory_reserved(self.name), int(share * total))
        if self.type == "mps":
            return torch.mps.recommended_max_memory()
        return psutil.virtual_memory().available + psutil.Process().memory_info().rss

    def tensors(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """The arrays as tensors on the device, under the same names."""
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if self.type == "cuda":  # from memory that stays where it is, the copy needs nobody to wait
            return {name: tensor.pin_memory().to(self.name, non_blocking=True) for name, tensor in tensors.items()}
        return {name: tensor.to(self.name) for name, tensor in tensors.items()}


def choose_device(device: str = "auto", dtype: str = "auto", threads: int | None = None) -> Device:
    """The Device for these settings. Under torchrun it also joins the process group. Raises InputError."""
    kind = device.partition(":")[0]
    mps = torch.backends.mps.is_available()
    if kind == "auto":
        kind = device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,3})?", device):
        raise InputError(f"--device={device}: must be auto, cpu, cuda, cuda:N or mps")
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not mps):
        raise InputError(f"--device={device}: torch sees no {kind} device here; --device=auto takes what there is")
    if dtype not in ("auto", *DTYPES):
        raise InputError(f"--dtype={dtype}: must be auto, {', '.join(DTYPES)}")
    if threads is not None and not 1 <= threads <= MAX_THREADS:
        raise InputError(f"--threads={threads}: must be from 1 to {MAX_THREADS:,}")
    if threads:
        torch.set_num_threads(threads)
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if kind == "cuda":
        index = int(os.environ["LOCAL_RANK"]) if "LOCAL_RANK" in os.environ else torch.device(device).index or 0
        device = f"cuda:{index}"
        torch.cuda.set_device(device)
        torch.backends.cuda.matmul.allow_tf32 = dtype != "float32"  # who asks for float32 gets all of its digits
    if world_size > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    if dtype == "auto":
        dtype = fastest_dtype(kind)
    return Device(kind, device, dtype, rank, world_size)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """
    Torch computes in one thread in here. It is for many short operations: where another program has a core, threads
    wait for each other after each of them, in all a hundred times as long as the work takes.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def fastest_dtype(kind: str) -> str:
    """
    bfloat16 where it is faster, else another. A GPU is asked; a CPU is measured for a few ms: many are far slower.
    """
    if kind == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if kind == "mps":
        return "float32"  # not measured: no Mac at hand
    seconds = matmul_seconds((torch.bfloat16, torch.float32))
    return "bfloat16" if seconds[torch.bfloat16] < 0.8 * seconds[torch.float32] else "float32"


def matmul_seconds(
    dtypes: Iterable[torch.dtype], device: str = "cpu", n: int = 256, repeats: int = 10
) -> dict[torch.dtype, float]:
    """
    Seconds for an (n, n) product in each dtype: the best of many in turn, since other programs may slow any of them.
    """
    squares = {dtype: torch.ones(n, n, dtype=dtype, device=device) for dtype in dtypes}
    best = dict.fromkeys(squares, float("inf"))
    for _ in range(repeats):
        for dtype, square in squares.items():
            start = time.perf_counter()
            (square @ square)[0, 0].item()  # waits for the device
            best[dtype] = min(best[dtype], time.perf_counter() - start)
    return best


def matmul_flops(device: Device) -> float:
    """Multiplications and additions a second of one large product on the device, in its dtype."""
    dtype, n = DTYPES[device.dtype], 8192 if device.type == "cuda" else 512
    return 2 * n**3 / matmul_seconds((dtype,), device.name, n, repeats=5)[dtype]


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch. Callers give each rank a seed of its own."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
