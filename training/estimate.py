"""
What a run will need, said before its first step: memory, by a formula, and time, by the speed of a product here.

    needed = footprint.memory(model, optimizer_bytes, tokens, where, gradient_checkpointing)
    footprint.checked(needed, where, settings)      # InputError with the flag that helps
"""

import psutil
import torch

from ops.cross_entropy import MAX_LOGITS
from runtime.device import matmul_flops
from runtime.errors import InputError
from training.parallel import local_shard

PROCESS_BYTES = 320e6  # bytes of Python with torch imported
MAX_SHARE = 0.9  # of the memory that is free may be asked for
UTILISATION = 0.55  # of the speed of a lone product, a whole step reaches about this much


def memory_bytes(model, optimizer, tokens, where):
    """Bytes at the peak of a step on `tokens` at once: the process, weights, gradients, moments, and the rest."""
    config, half = model.config, where.dtype != "float32"
    weights = sum(local_shard(p).nbytes for p in model.parameters())
    if half and where.type != "cpu":
        weights *= 1.5  # autocast's copies
    # bytes a token of each layer, a number of n_embd: two norms' inputs and outputs, qkv, attention, the MLP's two
    each = 28 if half and where.type == "cpu" else 40 if half else 72
    layers, full = config.n_layer, each * config.n_embd * tokens
    activations = 4 * layers * config.n_embd * tokens + full if model.gradient_checkpointing else layers * full
    itemsize = 2 if half else 4
    head = 2 * config.n_rows * config.n_embd * itemsize + MAX_LOGITS * (
        4 + itemsize
    )  # with its gradient, and the logits
    return int(PROCESS_BYTES * (where.type == "cpu") + weights + optimizer.bytes + activations + head)


def free_bytes(where):
    """Bytes that this process may use in all on the device."""
    if where.type == "cuda":
        return torch.cuda.mem_get_info(where.name)[0]
    if where.type == "mps":
        return torch.mps.recommended_max_memory()
    return psutil.virtual_memory().available + psutil.Process().memory_info().rss


def largest_batch(model, optimizer, block_size, where):
    """The rows, a power of two up to 64, that fit; 1 if none does."""
    rows = 64
    while rows > 1 and memory_bytes(model, optimizer, rows * block_size, where) > MAX_SHARE * free_bytes(where):
        rows //= 2
    return rows


def check_memory(model, optimizer, rows, block_size, where):
    """Bytes needed. Raises InputError with the flag that would help when they are more than there are."""
    needed, there = memory_bytes(model, optimizer, rows * block_size, where), free_bytes(where)
    if needed <= MAX_SHARE * there:
        return needed
    how = "a smaller model, or a machine with more memory"
    if rows > 1 and memory_bytes(model, optimizer, block_size, where) <= MAX_SHARE * there:
        how = "--batch_size=auto, or fewer rows with more --gradient_accumulation_steps"
    elif not model.gradient_checkpointing:
        how = "--gradient_checkpointing=true"
    elif optimizer.bytes > 0.2 * needed:
        how = "--lora_rank=16, which trains little beside the weights"
    raise InputError(
        f"{rows} rows of {block_size} tokens need {needed / 1e9:.1f} GB on {where.name}, "
        f"{there / 1e9:.1f} GB are free: try {how}"
    )


def step_seconds(model, tokens, share_learned, where):
    """Seconds that a step on `tokens` takes, roughly: its multiplications at the speed of one product."""
    config = model.config
    blocks = 12 * config.n_layer * config.n_embd**2
    head = config.n_rows * config.n_embd * share_learned
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    passes = 3 if trained > blocks / 2 else 2  # frozen matrices have no gradient of their own
    if model.gradient_checkpointing:
        passes += 1
    return 2 * passes * (blocks + head) * tokens / (UTILISATION * matmul_flops(where))
