"""
FSDP2 (--shard): every rank keeps a part of each parameter, of its gradient and of its moments, and the whole of one
block at a time while it computes. What is saved is whole, so that a run goes on with more ranks, fewer, or one.

    shard(model, "cuda")                  # before the optimizer is made
    whole(p), part(tensor, like=p)        # a parameter in one piece, and this rank's part of such a piece
    plain(model)                          # the model in one piece, on the CPU, to save
"""

import copy
import importlib.util
import shutil

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ops import attention
from runtime.errors import InputError
from training import lora


def shard_model(model, type):
    """Spread the model's parameters over all ranks: those of rank 0, block by block."""
    for p in model.parameters():
        torch.distributed.broadcast(p.data, src=0)
    mesh = init_device_mesh(type, (torch.distributed.get_world_size(),))
    for block in model.transformer.h:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def local_shard(p):
    """This rank's part of a parameter or gradient; the whole where nothing is sharded."""
    return p.to_local() if isinstance(p, DTensor) else p


def full_tensor(p, local=None):
    """A parameter in one piece, or what `local` is this rank's part of. All ranks call it together."""
    if not isinstance(p, DTensor):
        return p if local is None else local
    if local is not None:
        p = DTensor.from_local(local, p.device_mesh, p.placements, shape=p.shape, stride=p.stride())
    return p.full_tensor()


def shard_like(tensor, like):
    """This rank's part of a whole tensor, as parameter `like` is spread."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements).to_local()


@torch.no_grad()
def gather_to_cpu(named, locals=None):
    """name -> parameter in one piece on the CPU (or what locals[name] is this rank's part of); empty but on rank 0."""
    found = {}
    for name, p in named.items():
        full = full_tensor(p, locals and locals[name]).detach()
        if not isinstance(p, DTensor) or torch.distributed.get_rank() == 0:
            found[name] = full.cpu() if isinstance(p, DTensor) else full
    return found


def unsharded(model):
    """The model itself if it is in one piece; else a copy on the CPU that is, on rank 0. All ranks call it together."""
    if not isinstance(model, FSDPModule):
        return model
    model.reshard()  # the embeddings are left whole when nothing went backward
    found = gather_to_cpu(dict(model.named_parameters()))
    with torch.device("meta"):
        new = type(model)(copy.copy(model.config))
        ranks = [len(p) for name, p in found.items() if name.endswith(".A")]
        if ranks:
            lora.add_lora(new, ranks[0])
    if found:
        new.load_state_dict(found, assign=True)
    return new


def sum_ranks(value, where):
    """The sum of a tensor over all ranks, on the CPU; the tensor itself where there is one rank."""
    if where.world_size == 1:
        return value
    value = value.to(where.name)
    torch.distributed.all_reduce(value)
    return value.cpu()


def max_rank(number, where):
    """The largest of a number over all ranks."""
    value = torch.tensor(float(number), device=where.name)
    if where.world_size > 1:
        torch.distributed.all_reduce(value, torch.distributed.ReduceOp.MAX)
    return value.item()


def any_rank(condition, where):
    """Whether the condition holds on any rank: all of them stop at the same step."""
    return sum_ranks(torch.tensor(float(bool(condition))), where).item() > 0


def wrap(model, compiled, where, sharded=False):
    """What is stepped: `compiled`, which may be the model itself, by DDP, sharded, or alone. Raises InputError."""
    if where.world_size == 1:
        if sharded:
            raise InputError("--shard=true spreads a model over the processes of torchrun, and this is one alone")
        return compiled
    model.transformer.wte.sparse = False  # the head's gradient, which is added to it, is dense
    if sharded:
        shard_model(model, where.type)
        return compiled
    ids = [torch.device(where.name).index] if where.type == "cuda" else None
    return torch.nn.parallel.DistributedDataParallel(compiled, device_ids=ids)


def leave(where):
    """Leave the group of processes, if this is one of many."""
    if where.world_size > 1:
        torch.distributed.barrier()  # gloo hangs when the others have gone
        torch.distributed.destroy_process_group()


def compile_blocks(model, where, wanted, say):
    """The model, its blocks compiled where that is wanted (None: on a GPU) and can work; if not, `say` tells why."""
    if not (where.type == "cuda" if wanted is None else wanted):
        return model
    if where.type == "cuda":
        missing = None if importlib.util.find_spec("triton") else "triton"
    else:
        missing = None if any(map(shutil.which, ("c++", "g++", "clang++", "cl"))) else "a C++ compiler"
    if missing:
        say(f"torch.compile needs {missing}, which is not here: going on without it (--compile=false)")
        return model
    say("compiling the model's blocks: the first steps take a minute")
    attention.single_attention = torch.compiler.disable(attention.single_attention)  # a conversation is of any length
    for block in model.transformer.h:
        block.compile(dynamic=True)
    return model
