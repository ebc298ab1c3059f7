"""
GPT-2 in a single file: learned positions, pre-norm blocks, tanh GELU, biases everywhere, output head tied to the
input embedding (Radford et al. 2019). Names are nanoGPT's and Hugging Face's.

    logits = model(idx)                                     # (B, T, vocab_size)
    logits = model(idx, cache=cache, last_only=True)        # prefill, chunk and decode are this one line
    loss = model.loss(idx, targets, positions, cu_seqlens)  # a packed training batch
"""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ops.attention import PackedLayout, packed_attention, packed_layout
from ops.cross_entropy import HeadBuffer, cross_entropy
from ops.linear import Embedding, Linear

# between the layers of an MLP, by transformers' names; None: the tanh form of GELU, GPT-2's own, which c_proj applies
ACTIVATIONS = {"gelu_new": None, "gelu": F.gelu, "relu": F.relu, "silu": F.silu, "tanh": torch.tanh}


@dataclass
class GPTConfig:
    """The shape of a GPT-2; the defaults are those of GPT-2 124M."""

    block_size: int = 1024  # positions: the longest context in tokens
    vocab_size: int = 50257  # tokens that exist; the embedding has further rows up to a multiple of 64
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    dropout: float = 0.0
    n_inner: int = 0  # units of each MLP; 0: four times n_embd, as GPT-2 has
    activation: str = "gelu_new"  # one of ACTIVATIONS

    def __post_init__(self) -> None:
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd ({self.n_embd}) must be a multiple of n_head ({self.n_head})")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation ({self.activation}) must be one of {', '.join(ACTIVATIONS)}")
        self.n_inner = self.n_inner or 4 * self.n_embd

    @property
    def is_plain(self) -> bool:
        """Whether the MLPs are GPT-2's own, which is all that some engines know."""
        return self.n_inner == 4 * self.n_embd and self.activation == "gelu_new"

    @property
    def n_rows(self) -> int:
        """Rows of the embedding: a multiple of 64 keeps the head's matrix product on the GPU's fast path."""
        return -(-self.vocab_size // 64) * 64


class KVCache:
    """
    Keys and values of the tokens seen so far, (n_layer, B, n_head, block_size, head_size) each, allocated once. Row b
    holds lengths[b] tokens; a length that is set back forgets the later ones. cache[i:j] is a view of those rows.
    """

    def __init__(
        self,
        config: GPTConfig,
        batch_size: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        shape = (config.n_layer, batch_size, config.n_head, config.block_size, config.n_embd // config.n_head)
        self.k = torch.zeros(shape, device=device, dtype=dtype)
        self.v = torch.zeros(shape, device=device, dtype=dtype)
        self.lengths = torch.zeros(batch_size, dtype=torch.long)

    def __getitem__(self, rows: slice) -> "KVCache":
        view = copy.copy(self)
        view.k, view.v, view.lengths = self.k[:, rows], self.v[:, rows], self.lengths[rows]
        return view

    def append(self, layer: int, k: Tensor, v: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        """
        Write k and v (B, n_head, T, head_size) behind what each row holds; return all keys and values of the layer up
        to the longest row. positions: (B, T), where they go, for rows of unlike lengths; None if all have one length.
        """
        T = k.size(2)
        end = int(self.lengths.max()) + T
        if positions is None:
            self.k[layer, :, :, end - T : end] = k
            self.v[layer, :, :, end - T : end] = v
        else:
            rows = torch.arange(k.size(0), device=k.device)[:, None]
            self.k[layer][rows, :, positions] = k.transpose(1, 2).to(self.k.dtype)
            self.v[layer][rows, :, positions] = v.transpose(1, 2).to(self.v.dtype)
        return self.k[layer, :, :, :end], self.v[layer, :, :, :end]


class CausalSelfAttention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_attn = Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = Linear(config.n_embd, config.n_embd)
        self.resid_dropout = nn.Dropout(config.dropout)
        self.n_head = config.n_head

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
        positions: Tensor | None = None,
        packed: PackedLayout | None = None,
    ) -> Tensor:
        """
        x: (B, T, n_embd); returns the same shape. Causal, or as `mask` says: broadcast to (B, n_head, T, all keys),
        True where a query sees a key. cache, layer, positions: where keys and values are kept, as KVCache.append takes
        them. packed: the layout of a packed row, in which B is 1 and there is no cache and no mask.
        """
        B, T, C = x.shape
        qkv = self.c_attn(x)
        if packed is not None:
            return self.resid_dropout(self.c_proj(packed_attention(qkv[0], self.n_head, packed)[None]))
        q, k, v = qkv.view(B, T, 3, self.n_head, C // self.n_head).permute(2, 0, 3, 1, 4)  # (B, n_head, T, head_size)
        if cache is not None:
            k, v = (t.to(q.dtype) for t in cache.append(layer, k, v, positions))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None and T > 1)
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).reshape(B, T, C)))


class MLP(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_fc = Linear(config.n_embd, config.n_inner)
        self.c_proj = Linear(config.n_inner, config.n_embd)
        self.dropout = nn.Dropout(config.dropout)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.c_fc(x)
        y = self.c_proj(self.activation(hidden)) if self.activation else self.c_proj(hidden, gelu=True)
        return self.dropout(y)


class Block(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = MLP(config)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
        positions: Tensor | None = None,
        packed: PackedLayout | None = None,
    ) -> Tensor:
        """x: (B, T, n_embd); returns the same shape. The rest is CausalSelfAttention's."""
        x = x + self.attn(self.ln_1(x), mask, cache, layer, positions, packed)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """The parts of a GPT, under the names that GPT-2's weights have."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.wte = Embedding(config.n_rows, config.n_embd, sparse=True)
        self.wpe = Embedding(config.block_size, config.n_embd)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd)


class GPT(nn.Module):
    def __init__(self, config: GPTConfig, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = (
            gradient_checkpointing  # compute each block again in backward: slower, far smaller
        )
        self.transformer = Transformer(config)
        self.head_buffer = HeadBuffer()
        if self.transformer.wte.weight.is_meta:
            return  # weights will be loaded; drawing random ones there would import the compiler, for seconds
        self.apply(self._init_weights)
        for name, p in self.named_parameters():
            if name.endswith("c_proj.weight"):  # the residual stream sums 2 * n_layer of them
                nn.init.normal_(p, mean=0.0, std=0.02 / math.sqrt(2 * config.n_layer))
        with torch.no_grad():  # rows that stand for no token: no logit of theirs is used, so they stay zero
            self.transformer.wte.weight[config.vocab_size :] = 0

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    @torch.no_grad()
    def start_positions_as_waves(self) -> None:
        """
        Sinusoids (Vaswani et al. 2017) in place of the random positions, as large as these. They are learned on like
        any others; but looking one token back is one rotation for all of them, which makes copying far easier to learn.
        """
        wpe = self.transformer.wpe.weight
        n, half = wpe.size(0), wpe.size(1) // 2
        angles = torch.arange(n)[:, None] * n ** (-torch.arange(half) / half)
        waves = torch.cat([angles.sin(), angles.cos()], dim=1)
        wpe[:, : 2 * half] = waves.to(wpe.device) * 0.02 * math.sqrt(2)

    def num_params(self) -> int:
        """Parameters of this shape, each once (the head is the embedding), in whatever format they are kept."""
        c, n = self.config, self.config.n_embd
        a_layer = 4 * n * n + 9 * n + (2 * n + 1) * c.n_inner
        return (c.vocab_size + c.block_size) * n + c.n_layer * a_layer + 2 * n

    def forward(
        self,
        idx: Tensor,
        positions: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        cache: KVCache | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """
        Logits (B, T, vocab_size) of the ids idx (B, T); with last_only (B, 1, vocab_size), of the last position alone.
        positions, cu_seqlens, cache: as hidden_states takes them.
        """
        x = self.hidden_states(idx, positions, cu_seqlens, cache)
        return self.head(x[:, -1:] if last_only else x)

    def loss(
        self,
        idx: Tensor,
        targets: Tensor,
        positions: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        learned: Tensor | None = None,
        unlikelihood_candidates: Tensor | None = None,
        unlikelihood: float = 0.0,
    ) -> Tensor:
        """
        The mean cross-entropy, in nats, over the positions that are learned; a scalar. The logits are never kept whole.
        targets: (B, T), the next id where it is to be learned, -1 elsewhere. positions, cu_seqlens: as hidden_states
        has them. learned: (n,), which of the B * T positions are learned, for those who know it: to find them, Python
        would wait for a GPU. unlikelihood_candidates: (2, m), numbers of learned positions and ids that are wrong
        there; `unlikelihood` is the weight of their term (Welleck et al. 2019).
        """
        targets = targets.flatten()
        learned = (targets >= 0).nonzero()[:, 0] if learned is None else learned
        x = self.hidden_states(idx, positions, cu_seqlens).flatten(0, 1).index_select(0, learned)
        return cross_entropy(
            self.transformer.ln_f(x),
            self.transformer.wte.weight,
            targets[learned],
            self.config.vocab_size,
            buffer=self.head_buffer,
            unlikelihood_candidates=unlikelihood_candidates,
            unlikelihood=unlikelihood,
        )

    def head(self, x: Tensor) -> Tensor:
        """Logits (..., vocab_size) of what the blocks made, (..., n_embd)."""
        return self.transformer.wte.head(self.transformer.ln_f(x))[..., : self.config.vocab_size]

    def hidden_states(
        self,
        idx: Tensor,
        positions: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """
        What the blocks make of idx (B, T), before the last norm: (B, T, n_embd).
        positions: (B, T), each token's place in its own conversation; default: from the cache's length on.
        cu_seqlens: (conversations + 1,) int32, for a packed row (B = 1): where each conversation begins, and T. No
        token
            sees another conversation's.
        cache: a KVCache, whose rows grow by T. Raises ValueError if they would outgrow the context.
        """
        T = idx.size(1)
        past = int(cache.lengths.max()) if cache is not None else 0
        if cu_seqlens is None and past + T > self.config.block_size:
            raise ValueError(f"{past + T} tokens do not fit in a context of {self.config.block_size}")
        mask, ragged = None, False
        if cache is not None and int(cache.lengths.min()) < past:  # some rows hold less than others
            ragged = True
            positions = (cache.lengths[:, None] + torch.arange(T)).to(idx.device)  # (B, T)
            mask = torch.arange(past + T, device=idx.device) <= positions[:, None, :, None]  # (B, 1, T, past + T)
        elif positions is None:
            positions = torch.arange(past, past + T, device=idx.device)
        if not ragged and past and T > 1:
            # not SDPA's is_causal: it aligns top-left, which is wrong once the cache holds tokens
            mask = torch.ones(T, past + T, dtype=torch.bool, device=idx.device).tril(past)

        x = self.transformer.drop(self.transformer.wte(idx) + self.transformer.wpe(positions))
        packed = None
        if cu_seqlens is not None:
            head_size = self.config.n_embd // self.config.n_head
            packed = packed_layout(cu_seqlens, x, head_size, self.config.block_size)
        for layer, block in enumerate(self.transformer.h):
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, mask, packed=packed, use_reentrant=False)
            elif cache is None:  # without the layer's number, for which torch.compile would compile it anew
                x = block(x, mask, packed=packed)
            else:
                x = block(x, mask, cache, layer, positions if ragged else None)
        if cache is not None:
            cache.lengths += T
        return x

    @torch.no_grad()
    def grow(self, pieces: list[list[int]]) -> None:
        """Add a row for each new token; row i starts from the mean of the rows pieces[i]: what the model knows."""
        wte, n = self.transformer.wte.weight, self.config.vocab_size
        self.config.vocab_size = n + len(pieces)
        rows = wte.new_zeros(self.config.n_rows, wte.size(1))
        rows[:n] = wte[:n]
        for i, ids in enumerate(pieces):
            rows[n + i] = wte[ids].mean(dim=0)
        self.transformer.wte = Embedding.from_pretrained(rows, freeze=False, sparse=True)
