"""
Decoding on a GPU: the next token of all slots in one go. Its kernels are few microseconds each, which Python cannot
launch as fast, so they are recorded once as a CUDA graph and launched together.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from model import GPT, Block, KVCache

SHORTEST_SPAN = 128  # keys that attention looks at: the next power of two above what the longest slot holds


class GPUDecoder:
    """What model(idx, cache=cache) computes for one new token of each slot of the cache, of any lengths."""

    def __init__(self, model: GPT, cache: KVCache) -> None:
        self.model, self.cache = model, cache
        n_slots, device = cache.k.size(1), cache.k.device
        self.inputs = torch.zeros(2, n_slots, dtype=torch.long, device=device)  # each slot's new id and its position
        self.host_inputs = torch.zeros(2, n_slots, dtype=torch.long, pin_memory=device.type == "cuda")
        self.slots = torch.arange(n_slots, device=device)
        self.steps: dict[int, Callable[[], Tensor]] = {}  # by span

    @staticmethod
    def fits(model: GPT) -> bool:
        return model.transformer.wpe.weight.device.type == "cuda"

    def __call__(self, ids: Sequence[int], positions: Sequence[int]) -> Tensor:
        """
        Logits (slots, n_vocab), float32 on the device, after ids[i], which goes to positions[i] of slot i. The next
        call writes over them.
        """
        self.host_inputs.copy_(torch.tensor([ids, positions]))
        self.inputs.copy_(self.host_inputs, non_blocking=True)
        span = SHORTEST_SPAN
        while span <= max(positions):
            span *= 2
        span = min(span, self.model.config.block_size)
        if span not in self.steps:
            self.steps[span] = recorded(lambda: self.step(span), self.inputs.device)
        return self.steps[span]()

    def step(self, span: int) -> Tensor:
        """The kernels of one call, for slots that hold at most `span` tokens, the new ones included."""
        ids, positions = self.inputs
        parts = self.model.transformer
        x = parts.wte(ids) + parts.wpe(positions)  # (slots, n_embd)
        sees = torch.arange(span, device=x.device) <= positions[:, None]
        mask = torch.zeros(sees.shape, dtype=x.dtype, device=x.device).masked_fill(~sees, -torch.inf)[:, None, None]
        for layer, block in enumerate(parts.h):
            assert isinstance(block, Block)
            x = x + self.attention(block, layer, block.ln_1(x), positions, mask)
            x = x + block.mlp(block.ln_2(x))
        return self.model.head(x).float()

    def attention(self, block: Block, layer: int, x: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """The block's attention of x (slots, n_embd) to its slots. mask: (slots, 1, 1, span), to be added."""
        n, span = len(x), mask.size(-1)
        q, k, v = block.attn.c_attn(x).view(n, 3, block.attn.n_head, -1).unbind(1)  # (slots, n_head, head_size)
        keys, values = self.cache.k[layer], self.cache.v[layer]
        keys[self.slots, :, positions] = k
        values[self.slots, :, positions] = v
        y = F.scaled_dot_product_attention(q[:, :, None], keys[:, :, :span], values[:, :, :span], attn_mask=mask)
        return block.attn.c_proj(y.reshape(n, -1))


def recorded(step: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    """
    `step`, on CUDA as a graph: its kernels are launched at once, on the same memory each time. Python runs it twice, to
    have everything allocated and to record it.
    """
    if device.type != "cuda":
        return step
    beside = torch.cuda.Stream(device)
    beside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(beside):
        step()
    torch.cuda.current_stream(device).wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = step()

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay
