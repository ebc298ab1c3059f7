"""
Which device, dtype and threads; seeds; this process's rank under torchrun. Everything is chosen by itself and can be
overridden: --device=cpu, --dtype=float32.
"""

import contextlib
import os
import random
import time
from dataclasses import dataclass

import numpy as np
import psutil
import torch

from runtime.errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Device:
    """Where this process computes. rank and world_size are torchrun's (0 and 1 without it)."""

    type: str  # cpu, cuda or mps
    name: str  # what torch calls it: cuda:1
    dtype: str  # of the matrix products; weights stay float32
    rank: int = 0
    world_size: int = 1

    def autocast(self):
        """The context in which a forward pass runs."""
        if self.dtype == "float32":
            return contextlib.nullcontext()
        # without the cache a weight's copy in fewer bits lives as long as its product
        return torch.autocast(self.type, DTYPES[self.dtype], cache_enabled=self.type != "cpu")

    def memory_mb(self):
        """What the model's device holds of this process, MB; on a CPU the process's own memory."""
        if self.type == "cuda":
            return torch.cuda.memory_reserved(self.name) / 1e6
        if self.type == "mps":
            return torch.mps.driver_allocated_memory() / 1e6
        return psutil.Process().memory_info().rss / 1e6

    def tensors(self, *arrays):
        """numpy arrays as tensors where the model is."""
        tensors = [torch.from_numpy(array) for array in arrays]
        if self.type == "cuda":
            return [tensor.pin_memory().to(self.name, non_blocking=True) for tensor in tensors]
        return [tensor.to(self.name) for tensor in tensors]


def choose_device(device="auto", dtype="auto", threads=None):
    """The Device for these settings. Under torchrun it also joins the process group. Raises InputError."""
    type = device.partition(":")[0]
    mps = torch.backends.mps.is_available()
    if type == "auto":
        type = device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if type not in ("cpu", "cuda", "mps"):
        raise InputError(f"--device={device}: must be auto, cpu, cuda, cuda:N or mps")
    if (type == "cuda" and not torch.cuda.is_available()) or (type == "mps" and not mps):
        raise InputError(f"--device={device}: torch sees no {type} device here; --device=auto takes what there is")
    if dtype not in ("auto", *DTYPES):
        raise InputError(f"--dtype={dtype}: must be auto, {', '.join(DTYPES)}")
    if threads is not None and threads < 1:
        raise InputError(f"--threads={threads}: must be at least 1")
    if threads:
        torch.set_num_threads(threads)
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if type == "cuda":
        index = int(os.environ["LOCAL_RANK"]) if "LOCAL_RANK" in os.environ else torch.device(device).index or 0
        device = f"cuda:{index}"
        torch.cuda.set_device(device)
        torch.backends.cuda.matmul.allow_tf32 = True
    if world_size > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if type == "cuda" else "gloo")
    if dtype == "auto":
        dtype = fastest_dtype(type)
    return Device(type, device, dtype, rank, world_size)


def fastest_dtype(type):
    """bfloat16 where it is faster. A GPU is asked, a CPU is measured, in a few ms: many are far slower with it."""
    if type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if type == "mps":
        return "float32"  # not measured: no Mac at hand
    seconds = matmul_seconds((torch.bfloat16, torch.float32))
    return "bfloat16" if seconds[torch.bfloat16] < 0.8 * seconds[torch.float32] else "float32"


def matmul_seconds(dtypes, n=256):
    """dtype -> seconds for an n x n product: the best of many in turn, since another program may slow any of them."""
    squares = {dtype: torch.ones(n, n, dtype=dtype) for dtype in dtypes}
    best = dict.fromkeys(dtypes, float("inf"))
    for _ in range(10):
        for dtype, a in squares.items():
            start = time.perf_counter()
            torch.nn.functional.linear(a, a)
            best[dtype] = min(best[dtype], time.perf_counter() - start)
    return best


def seed_everything(seed):
    """Python, numpy and torch; each rank is given its own seed by the caller."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def matmul_flops(where, n=512):
    """Multiplications and additions a second of an n x n product in the dtype of training."""
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[where.dtype]
    a = torch.ones(n, n, dtype=dtype, device=where.name)
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - begun)
    return 2 * n**3 / best
