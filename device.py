"""
Which device, dtype and threads; seeds; this process's rank under torchrun. Everything is chosen by itself and can be
overridden: --device=cpu, --dtype=float32.
"""

import contextlib
import importlib.util
import os
import random
import shutil
import time
from dataclasses import dataclass

import numpy as np
import psutil
import torch

import attention
import sharding
from configurator import InputError

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

    def summed(self, value):
        """The sum of a tensor over all ranks."""
        if self.world_size == 1:
            return value
        value = value.to(self.name)
        torch.distributed.all_reduce(value)
        return value.cpu()

    def largest(self, n):
        """The largest of a number over all ranks."""
        value = torch.tensor(float(n), device=self.name)
        if self.world_size > 1:
            torch.distributed.all_reduce(value, torch.distributed.ReduceOp.MAX)
        return value.item()

    def agreed(self, condition):
        """Whether the condition holds on any rank: all of them stop at the same step."""
        return self.summed(torch.tensor(float(bool(condition)))).item() > 0

    def parallel(self, model, stepped, shard=False):
        """What to step: `stepped`, the model or a compiled form of it, by DDP, sharded, or alone. Raises InputError."""
        if self.world_size == 1:
            if shard:
                raise InputError("--shard=true spreads a model over the processes of torchrun, and this is one alone")
            return stepped
        model.transformer.wte.sparse = False  # the head's gradient, which is added to it, is dense
        if shard:
            sharding.shard(model, self.type)
            return stepped
        ids = [torch.device(self.name).index] if self.type == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(stepped, device_ids=ids)

    def leave(self):
        """Leave the group of processes, if this is one of many."""
        if self.world_size > 1:
            torch.distributed.barrier()  # gloo hangs when the others have gone
            torch.distributed.destroy_process_group()

    def compiled(self, model, wanted, say):
        """The model, through torch.compile where that is wanted (None: on a GPU) and can work; if not, `say` tells."""
        if not (self.type == "cuda" if wanted is None else wanted):
            return model
        if self.type == "cuda":
            missing = None if importlib.util.find_spec("triton") else "triton"
        else:
            missing = None if any(map(shutil.which, ("c++", "g++", "clang++", "cl"))) else "a C++ compiler"
        if missing:
            say(f"torch.compile needs {missing}, which is not here: going on without it (--compile=false)")
            return model
        say("compiling the model's blocks: the first steps take a minute")
        attention.attended = torch.compiler.disable(attention.attended)  # a conversation is of any length
        for block in model.transformer.h:
            block.compile(dynamic=True)
        return model


def chosen(device="auto", dtype="auto", threads=None):
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
