"""
FSDP2 (--shard): every rank keeps a part of each parameter, of its gradient and of its moments, and the whole of one
block at a time while it computes. What is saved is whole, so that a run goes on with more ranks, fewer, or one.

    shard(model, "cuda")                  # before the optimizer is made
    whole(p), part(tensor, like=p)        # a parameter in one piece, and this rank's part of such a piece
    plain(model)                          # the model in one piece, on the CPU, to save
"""

import copy

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

import lora


def shard(model, type):
    """Spread the model's parameters over all ranks: those of rank 0, block by block."""
    for p in model.parameters():
        torch.distributed.broadcast(p.data, src=0)
    mesh = init_device_mesh(type, (torch.distributed.get_world_size(),))
    for block in model.transformer.h:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def local(p):
    """This rank's part of a parameter or gradient; the whole where nothing is sharded."""
    return p.to_local() if isinstance(p, DTensor) else p


def whole(p, local=None):
    """A parameter in one piece, or what `local` is this rank's part of. All ranks call it together."""
    if not isinstance(p, DTensor):
        return p if local is None else local
    if local is not None:
        p = DTensor.from_local(local, p.device_mesh, p.placements, shape=p.shape, stride=p.stride())
    return p.full_tensor()


def part(tensor, like):
    """This rank's part of a whole tensor, as parameter `like` is spread."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements).to_local()


@torch.no_grad()
def gathered(named, locals=None):
    """name -> parameter in one piece on the CPU (or what locals[name] is this rank's part of); empty but on rank 0."""
    found = {}
    for name, p in named.items():
        full = whole(p, locals and locals[name]).detach()
        if not isinstance(p, DTensor) or torch.distributed.get_rank() == 0:
            found[name] = full.cpu() if isinstance(p, DTensor) else full
    return found


def plain(model):
    """The model itself if it is in one piece; else a copy on the CPU that is, on rank 0. All ranks call it together."""
    if not isinstance(model, FSDPModule):
        return model
    model.reshard()  # the embeddings are left whole when nothing went backward
    found = gathered(dict(model.named_parameters()))
    with torch.device("meta"):
        new = type(model)(copy.copy(model.config))
        ranks = [len(p) for name, p in found.items() if name.endswith(".A")]
        if ranks:
            lora.add(new, ranks[0])
    if found:
        new.load_state_dict(found, assign=True)
    return new
