"""
Training a little of a model: low-rank matrices beside its own (LoRA, Hu et al. 2021), or its upper blocks alone.

    add_lora(model, rank=16)                # from here on only the new matrices are trained
    parameters = merged_parameters(model)   # those of a plain GPT-2, with what was learned
    freeze_lowest(model, 6)                 # or: the embeddings and the lowest six blocks stay as they are
"""

import json
import math
from pathlib import Path

import torch
import torch.nn as nn
from safetensors.torch import save_file
from torch import Tensor

from checkpoint.adapter import is_adapter
from model import GPT
from ops.linear import Linear, linear
from runtime import atomic, hub
from runtime.errors import InputError

SCALE = 2.0  # of the low-rank product, as in LoRA's own experiments with alpha = 2 r


class LoRALinear(nn.Module):
    """x W^T + b + scale (x A^T) B^T of a Linear whose W and b stay. A: (rank, in), random; B: (out, rank), zero."""

    def __init__(self, base: Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.weight, self.bias, self.scale = base.weight, base.bias, scale
        device = base.weight.device
        a = torch.randn(rank, base.in_features, device=device, dtype=torch.float32)
        self.A = nn.Parameter(a / math.sqrt(base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, rank, device=device, dtype=torch.float32))

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:
        if gelu:
            x = nn.functional.gelu(x, approximate="tanh")
        low_rank = nn.functional.linear(nn.functional.linear(x, self.A), self.B)
        return linear(x, self.weight, self.bias) + self.scale * low_rank

    def merged(self) -> Tensor:
        """W with what was learned, (out, in) float32."""
        return self.weight.detach().float() + self.scale * self.B.detach() @ self.A.detach()


def add_lora(model: GPT, rank: int) -> None:
    """
    Replace the Linears of the blocks by LoRALinears; nothing else of the model is trained. Raises InputError for a rank
    above the model's width, where the weights themselves are smaller.
    """
    if rank < 1:
        raise ValueError(f"rank ({rank}) must be at least 1")
    if rank > model.config.n_embd:
        raise InputError(f"lora_rank ({rank}) must be at most n_embd ({model.config.n_embd}); 16 is usual")
    model.requires_grad_(False)
    for module in list(model.transformer.h.modules()):
        for name, child in module.named_children():
            if isinstance(child, Linear):
                setattr(module, name, LoRALinear(child, rank, SCALE))


def merged_parameters(model: GPT) -> dict[str, Tensor]:
    """Name -> tensor of each parameter that a plain GPT-2 has, with what LoRA learned merged in."""
    layers = {f"{name}.weight": layer for name, layer in model.named_modules() if isinstance(layer, LoRALinear)}
    return {
        name: layers[name].merged() if name in layers else p
        for name, p in model.named_parameters()
        if not (name.endswith((".A", ".B")) and name[:-1] + "weight" in layers)
    }


def is_adapter_base(init_from: str | Path, out_dir: str | Path) -> bool:
    """
    Whether an adapter can name the model that a run starts from as its base: a folder as transformers has it, or a
    name of the hub, but for the folder that the run writes to, and for what is an adapter itself.
    """
    folder = hub.local_folder(init_from)
    is_model = (folder / "config.json").is_file() and not is_adapter(folder)
    return is_model and folder.resolve() != Path(out_dir).resolve()


def save_adapter(folder: Path, model: GPT, base: str) -> None:
    """Write what LoRA learned alone, as peft's adapter of the model `base`: a folder or a name of the hub."""
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, LoRALinear)}
    tensors = {
        f"base_model.model.{name}.lora_{kind}.weight": p.detach().cpu().contiguous()
        for name, layer in layers.items()
        for kind, p in (("A", layer.A), ("B", layer.B))
    }
    rank = next(iter(layers.values())).A.size(0)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": SCALE * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({name.rpartition(".")[2] for name in layers}),
        "fan_in_fan_out": True,  # GPT-2 keeps its matrices as (in, out)
        "inference_mode": True,
    }
    with atomic.folder(folder) as new:
        save_file(tensors, new / "adapter_model.safetensors", metadata={"format": "pt"})
        (new / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def freeze_lowest(model: GPT, n: int) -> None:
    """Keep the embeddings and the lowest n blocks as they are. Raises InputError if there are not as many."""
    blocks = model.transformer.h
    if n > len(blocks):
        raise InputError(f"freeze_layers ({n}) must be at most n_layer ({len(blocks)})")
    for part in (model.transformer.wte, model.transformer.wpe, *blocks[:n]):
        part.requires_grad_(False)
