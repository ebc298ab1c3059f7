"""
A model over several processes: torchrun's ranks with DDP, or with FSDP2 (--shard), where every rank keeps a part of
each parameter, of its gradient and of its moments, and the whole of one block at a time while it computes. What is
saved is whole, so that a run goes on with more ranks, fewer, or one.

    loss_module = wrap(LossModule(model), model, device, sharded=True)     # before the optimizer is made
    full_tensor(p), shard_like(tensor, p)      # a parameter in one piece, and this rank's part of such a piece
    unsharded(model)                           # the model in one piece, on the CPU, to save
"""

import contextlib
import copy
import importlib.util
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeGuard, cast

import torch
import torch.nn as nn
from torch import Tensor

from model import GPT
from ops import attention, cross_entropy
from runtime.device import Device
from runtime.errors import InputError
from training import lora

if TYPE_CHECKING:  # it takes most of a second to import, so only those who shard pay for it
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor


def wrap(loss_module: nn.Module, model: GPT, device: Device, sharded: bool = False) -> nn.Module:
    """
    What is stepped: the loss module itself for one process, by DDP for several; with `sharded` the model's parameters
    are spread first. Raises InputError if there is nothing to spread them over.
    """
    if device.world_size == 1:
        if sharded:
            raise InputError("--shard=true spreads a model over the processes of torchrun, and this is one alone")
        return loss_module
    model.transformer.wte.sparse = False  # the head's gradient, which is added to it, is dense
    if sharded:
        shard_model(model, device.type)
        return loss_module
    device_ids = [torch.device(device.name).index] if device.type == "cuda" else None
    return torch.nn.parallel.DistributedDataParallel(loss_module, device_ids=device_ids)


def shard_model(model: GPT, device_type: str) -> None:
    """Spread the model's parameters over all ranks, block by block; those of rank 0 count."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for p in model.parameters():
        torch.distributed.broadcast(p.data, src=0)
    mesh = init_device_mesh(device_type, (torch.distributed.get_world_size(),))
    for block in model.transformer.h:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "loss")


def compile_blocks(model: GPT, device: Device, wanted: bool | None, say: Callable[[str], None]) -> None:
    """
    Have torch.compile compile the model's blocks, where that is wanted (None: on a GPU) and can work; if it cannot,
    `say` tells why.
    """
    if not (device.type == "cuda" if wanted is None else wanted):
        return
    if device.type == "cuda":
        missing = None if importlib.util.find_spec("triton") else "triton"
    else:
        missing = None if any(map(shutil.which, ("c++", "g++", "clang++", "cl"))) else "a C++ compiler"
    if missing:
        say(f"torch.compile needs {missing}, which is not here: going on without it (--compile=false)")
        return
    say("compiling the model's blocks: the first steps take a minute")
    attention.exclude_from_compile()
    if device.type == "cuda":
        cross_entropy.compile_for_gpu()
    for block in model.transformer.h:
        block.compile(dynamic=True)


def uncompiled(model: GPT) -> AbstractContextManager:
    """
    Inside it the model's blocks run as they are written: for what is done seldom, in shapes of its own, each of which
    would be compiled for many seconds.
    """
    is_compiled = any(block._compiled_call_impl for block in model.transformer.h)
    return torch.compiler.set_stance("force_eager") if is_compiled else contextlib.nullcontext()


def is_sharded(p: Tensor) -> "TypeGuard[DTensor]":
    """Whether a parameter or gradient is spread over the ranks."""
    return hasattr(p, "placements")


def local_shard(p: Tensor) -> Tensor:
    """This rank's part of a parameter or gradient; the whole where nothing is sharded."""
    return p.to_local() if is_sharded(p) else p


def full_tensor(p: Tensor, shard: Tensor | None = None) -> Tensor:
    """
    A parameter in one piece; with `shard`, this rank's part of a tensor that is spread as p is, that tensor in one
    piece. All ranks call it together.
    """
    if not is_sharded(p):
        return p if shard is None else shard
    if shard is not None:
        from torch.distributed.tensor import DTensor

        p = DTensor.from_local(shard, p.device_mesh, p.placements, shape=p.shape, stride=p.stride())
    return p.full_tensor()


def shard_like(tensor: Tensor, p: Tensor) -> Tensor:
    """This rank's part of a whole tensor, spread as the parameter p is."""
    if not is_sharded(p):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(p.device), p.device_mesh, p.placements).to_local()


@torch.no_grad()
def gather_to_cpu(parameters: Mapping[str, Tensor], shards: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """
    Name -> parameter in one piece on the CPU, or what shards[name] is this rank's part of. All ranks call it together;
    where parameters are sharded, only rank 0 gets them.
    """
    whole = {}
    for name, p in parameters.items():
        full = full_tensor(p, shards[name] if shards else None).detach()
        if not is_sharded(p) or torch.distributed.get_rank() == 0:
            whole[name] = full.cpu() if is_sharded(p) else full
    return whole


def unsharded(model: GPT) -> GPT:
    """The model itself if it is in one piece; else a copy on the CPU that is, on rank 0. All ranks call it together."""
    if not hasattr(model, "reshard"):  # fully_shard adds it
        return model
    cast("FSDPModule", model).reshard()  # the embeddings are left whole when nothing went backward
    parameters = gather_to_cpu(dict(model.named_parameters()))
    with torch.device("meta"):
        copied = GPT(copy.copy(model.config))
        ranks = [len(p) for name, p in parameters.items() if name.endswith(".A")]
        if ranks:
            lora.add_lora(copied, ranks[0])
    if parameters:
        copied.load_state_dict(parameters, assign=True)
    return copied


def sum_ranks(value: Tensor, device: Device) -> Tensor:
    """The sum of a tensor over all ranks, on the CPU; the tensor itself where there is one rank."""
    if device.world_size == 1:
        return value
    value = value.to(device.name)
    torch.distributed.all_reduce(value)
    return value.cpu()


def max_rank(number: float, device: Device) -> float:
    """The largest of a number over all ranks."""
    value = torch.tensor(float(number), device=device.name)
    if device.world_size > 1:
        torch.distributed.all_reduce(value, torch.distributed.ReduceOp.MAX)
    return value.item()


def any_rank(condition: object, device: Device) -> bool:
    """Whether the condition is true on any rank, so that all of them stop at the same step."""
    return sum_ranks(torch.tensor(float(bool(condition))), device).item() > 0


def leave(device: Device) -> None:
    """Leave the group of processes, if this is one of many."""
    if device.world_size > 1:
        torch.distributed.barrier()  # gloo hangs when the others have gone
        torch.distributed.destroy_process_group()
