"""
What a run will need, told before its first step: memory, by a formula, and time, by the speed of one matrix product
here.

    n_bytes = check_memory(model, optimizer, batch_size, block_size, device)     # or InputError with the flag that
    helps seconds = step_seconds(model, n_tokens, learned_share, device)
"""

import torch

from model import GPT, GPTConfig
from ops.cross_entropy import MAX_LOGITS, MAX_LOGITS_ON_GPU
from runtime.device import Device, matmul_flops
from runtime.errors import InputError
from training.optimizer import Optimizer
from training.parallel import local_shard

PROCESS_BYTES = 320e6  # of Python with torch imported
MAX_SHARE = 0.9  # of the free memory that a run may ask for
UTILISATION = 0.55  # a whole step reaches about so much of the speed of a lone matrix product
MAX_ROWS = 64  # that batch_size=auto takes


def memory_bytes(model: GPT, optimizer: Optimizer, n_tokens: int, device: Device) -> int:
    """
    Bytes at the peak of a step on `n_tokens` at once: the process, weights, gradients, moments, activations, head.
    """
    config, is_half = model.config, device.dtype != "float32"
    weights = sum(local_shard(p).nbytes for p in model.parameters())
    if is_half and device.type != "cpu":
        weights *= 1.5  # autocast's copies
    # bytes a layer keeps for each number of n_embd x n_tokens: norms, qkv, attention, the MLP's two layers
    per_number = 28 if is_half and device.type == "cpu" else 40 if is_half else 72
    n_numbers = config.n_embd * n_tokens
    activations = config.n_layer * per_number * n_numbers
    if model.gradient_checkpointing:
        activations = 4 * config.n_layer * n_numbers + per_number * n_numbers
    itemsize = 2 if is_half else 4
    n_logits = min(MAX_LOGITS_ON_GPU, n_tokens * config.n_rows) if device.type == "cuda" else MAX_LOGITS
    head = 2 * config.n_rows * config.n_embd * itemsize + n_logits * (4 + itemsize)  # with its gradient, and the logits
    return int(PROCESS_BYTES * (device.type == "cpu") + weights + optimizer.n_bytes + activations + head)


def check_shape(config: GPTConfig, device: Device) -> None:
    """Raise InputError if weights, gradients and moments of a new model of this shape would not fit in memory."""
    blocks = 12 * config.n_layer * config.n_embd**2
    n_bytes = 4 * 4 * (blocks + (config.vocab_size + config.block_size) * config.n_embd)
    if n_bytes > device.free_bytes():
        raise InputError(
            f"{config.n_layer} layers x {config.n_embd} with a context of {config.block_size} need "
            f"{n_bytes / 1e9:,.1f} GB on {device.name}, {device.free_bytes() / 1e9:.1f} GB are free: try a smaller one"
        )


def largest_batch(model: GPT, optimizer: Optimizer, block_size: int, device: Device) -> int:
    """The rows, a power of two up to MAX_ROWS, that fit in memory; 1 if none does."""
    rows = MAX_ROWS
    while rows > 1 and memory_bytes(model, optimizer, rows * block_size, device) > MAX_SHARE * device.free_bytes():
        rows //= 2
    return rows


def check_memory(model: GPT, optimizer: Optimizer, rows: int, block_size: int, device: Device) -> int:
    """The bytes that a step needs. Raises InputError with the flag that would help if they are more than there are."""
    needed, free = memory_bytes(model, optimizer, rows * block_size, device), device.free_bytes()
    if needed <= MAX_SHARE * free:
        return needed
    remedy = "a smaller model, or a machine with more memory"
    if rows > 1 and memory_bytes(model, optimizer, block_size, device) <= MAX_SHARE * free:
        remedy = "--batch_size=auto, or fewer rows with more --gradient_accumulation_steps"
    elif not model.gradient_checkpointing:
        remedy = "--gradient_checkpointing=true"
    elif optimizer.n_bytes > 0.2 * needed:
        remedy = "--lora_rank=16, which trains little beside the weights"
    raise InputError(
        f"{rows} rows of {block_size} tokens need {needed / 1e9:.1f} GB on {device.name}, "
        f"{free / 1e9:.1f} GB are free: try {remedy}"
    )


def pass_seconds(n_tokens: int, n_learned: int, device: Device) -> float:
    """Seconds that a pass over so many tokens takes a GPT-2 124M, of which no weight is made for it."""
    with torch.device("meta"):
        model = GPT(GPTConfig())
    return step_seconds(model, n_tokens, n_learned / max(1, n_tokens), device)


def step_seconds(model: GPT, n_tokens: float, learned_share: float, device: Device) -> float:
    """Seconds that a step on `n_tokens` takes, roughly: its multiplications at the speed of one product."""
    config = model.config
    blocks = 12 * config.n_layer * config.n_embd**2
    head = config.n_rows * config.n_embd * learned_share
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    passes = 3 if trained > blocks / 2 else 2  # frozen matrices have no gradient of their own
    if model.gradient_checkpointing:
        passes += 1
    return 2 * passes * (blocks + head) * n_tokens / (UTILISATION * matmul_flops(device))
