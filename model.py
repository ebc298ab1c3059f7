"""
GPT-2 in a single file: learned positions, pre-norm blocks, tanh GELU, biases everywhere, output head tied to the
input embedding (Radford et al. 2019). Names are nanoGPT's and Hugging Face's.

    logits, _ = model(idx)                                  # (B, T, n_vocab)
    _, loss = model(idx, targets, positions, starts)        # a packed training batch
    logits, _ = model(idx, cache=cache, last_only=True)     # prefill, chunk and decode are this one line
"""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ops import attention
from ops.cross_entropy import cross_entropy
from ops.linear import linear


@dataclass
class GPTConfig:
    block_size: int = 1024  # positions: the longest context in tokens
    vocab_size: int = 50257  # tokens that exist; the embedding has further rows up to a multiple of 64
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    dropout: float = 0.0

    def __post_init__(self):
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd ({self.n_embd}) must be a multiple of n_head ({self.n_head})")

    @property
    def n_rows(self):
        """Rows of the embedding: a multiple of 64 keeps the head's matrix product on the GPU's fast path."""
        return -(-self.vocab_size // 64) * 64


class KVCache:
    """
    Keys and values of the tokens seen so far, preallocated: (n_layer, B, n_head, block_size, head_size) each. Row b
    holds lengths[b] tokens; setting it back forgets the later ones. cache[i:j] is those rows alone, of the same memory.
    """

    def __init__(self, config, batch_size=1, device="cpu", dtype=torch.float32):
        shape = (config.n_layer, batch_size, config.n_head, config.block_size, config.n_embd // config.n_head)
        self.k = torch.zeros(shape, device=device, dtype=dtype)
        self.v = torch.zeros(shape, device=device, dtype=dtype)
        self.lengths = torch.zeros(batch_size, dtype=torch.long)

    def __getitem__(self, rows):
        part = object.__new__(KVCache)
        part.k, part.v, part.lengths = self.k[:, rows], self.v[:, rows], self.lengths[rows]
        return part

    def append(self, layer, k, v, places):
        """
        Write (B, n_head, T, head_size) behind what each row holds; return all keys and values up to the longest row.
        places: where that is, (B, T) on the cache's device; None: rows of one length.
        """
        end = int(self.lengths.max()) + k.size(2)
        if places is None:
            self.k[layer, :, :, end - k.size(2) : end] = k
            self.v[layer, :, :, end - k.size(2) : end] = v
        else:
            rows = torch.arange(k.size(0), device=k.device)[:, None]
            self.k[layer][rows, :, places] = k.transpose(1, 2).to(self.k.dtype)
            self.v[layer][rows, :, places] = v.transpose(1, 2).to(self.v.dtype)
        return self.k[layer, :, :, :end], self.v[layer, :, :, :end]


class Linear(nn.Linear):
    def reset_parameters(self):
        pass  # GPT initialises all of its parameters

    def forward(self, x, gelu=False):
        return linear(x, self.weight, self.bias, gelu)


class Embedding(nn.Embedding):
    half = None

    def reset_parameters(self):
        pass

    def forward(self, idx):
        # a sparse gradient is added to the head's, where a dense one would be a second matrix of that size
        return F.embedding(idx, self.weight, sparse=self.sparse and idx.device.type == "cpu")

    def scratch(self, device):
        """Memory for the head in fewer bits, kept from step to step on a CPU, where new pages take longer to get."""
        if device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return None
        if self.half is None or self.half.shape != self.weight.shape:
            self.half = torch.empty_like(self.weight, dtype=torch.get_autocast_dtype("cpu"), requires_grad=False)
        return self.half

    def head(self, x):
        """The embedding as the output head: logits (..., rows) of final states (..., n_embd)."""
        return linear(x, self.weight)


class CausalSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_attn = Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = Linear(config.n_embd, config.n_embd)
        self.resid_dropout = nn.Dropout(config.dropout)
        self.n_head = config.n_head

    def forward(self, x, mask=None, cache=None, layer=0, places=None, starts=None):
        B, T, C = x.shape
        qkv = self.c_attn(x)
        if starts is not None:
            return self.resid_dropout(self.c_proj(attention.packed_attention(qkv[0], self.n_head, starts)[None]))
        q, k, v = qkv.view(B, T, 3, self.n_head, C // self.n_head).permute(2, 0, 3, 1, 4)  # (B, nh, T, hs) each
        if cache is not None:
            k, v = (t.to(q.dtype) for t in cache.append(layer, k, v, places))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None and T > 1)
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).reshape(B, T, C)))


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.c_fc = Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = Linear(4 * config.n_embd, config.n_embd)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x):
        return self.dropout(self.c_proj(self.c_fc(x), gelu=True))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = MLP(config)

    def forward(self, x, mask=None, cache=None, layer=0, places=None, starts=None):
        x = x + self.attn(self.ln_1(x), mask, cache, layer, places, starts)
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, config, gradient_checkpointing=False):
        super().__init__()
        self.config = config
        # recompute each block in backward: slower, far less memory
        self.gradient_checkpointing = gradient_checkpointing
        self.unlikelihood = 0.0
        self.transformer = nn.ModuleDict(
            dict(
                wte=Embedding(config.n_rows, config.n_embd, sparse=True),
                wpe=Embedding(config.block_size, config.n_embd),
                drop=nn.Dropout(config.dropout),
                h=nn.ModuleList([Block(config) for _ in range(config.n_layer)]),
                ln_f=nn.LayerNorm(config.n_embd),
            )
        )
        if self.transformer.wte.weight.is_meta:
            return  # weights will be loaded; drawing random ones there would import the compiler, for seconds
        self.apply(self._init_weights)
        for name, p in self.named_parameters():
            if name.endswith("c_proj.weight"):  # the residual stream sums 2 * n_layer of them
                nn.init.normal_(p, mean=0.0, std=0.02 / math.sqrt(2 * config.n_layer))
        with torch.no_grad():  # rows that stand for no token: no logit of theirs is used, so they stay zero
            self.transformer.wte.weight[config.vocab_size :] = 0

    def _init_weights(self, module):
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    def num_params(self):
        """Parameters of this shape, each once (the head is the embedding), however they are kept."""
        c, n = self.config, self.config.n_embd
        return (c.vocab_size + c.block_size) * n + c.n_layer * (12 * n * n + 13 * n) + 2 * n

    def head(self, x):
        """Logits (..., vocab_size) of what the blocks made, (..., n_embd)."""
        return self.transformer.wte.head(self.transformer.ln_f(x))[..., : self.config.vocab_size]

    def forward(self, idx, targets=None, positions=None, starts=None, unlikely=None, cache=None, last_only=False):
        """
        idx: (B, T) ids. Returns (logits, loss): (B, T, vocab_size) and None, or with targets None and their mean loss.
        targets: (B, T), the next id where it is to be learned and -1 elsewhere; the loss is the mean over those.
        positions: (B, T), each token's place in its own conversation; default: from the cache's length on.
        starts: (conversations + 1,) int32, where each conversation of a packed row begins, and T; then B is 1, and no
            token sees another conversation's.
        unlikely: (2, m), numbers of learned tokens and ids that they should not be, weighed by self.unlikelihood.
        cache: a KVCache, whose rows grow by T each. last_only: logits of the last position alone, (B, 1, vocab_size).
        """
        x = self.states(idx, positions, starts, cache)
        if targets is not None:
            learned = targets >= 0
            states = self.transformer.ln_f(x[learned])
            weight, scratch = self.transformer.wte.weight, self.transformer.wte.scratch(states.device)
            how = self.config.vocab_size, scratch, unlikely, self.unlikelihood
            return None, cross_entropy(states, weight, targets[learned], *how)
        return self.head(x[:, -1:] if last_only else x), None

    def states(self, idx, positions=None, starts=None, cache=None):
        """What the blocks make of idx, (B, T, n_embd), before the last norm."""
        T = idx.size(1)
        past = int(cache.lengths.max()) if cache is not None else 0
        ragged = cache is not None and int(cache.lengths.min()) < past  # rows that hold more and less
        if starts is None and past + T > self.config.block_size:
            raise ValueError(f"{past + T} tokens do not fit in a context of {self.config.block_size}")
        if ragged:
            positions = (cache.lengths[:, None] + torch.arange(T)).to(idx.device)  # (B, T)
        elif positions is None:
            positions = torch.arange(past, past + T, device=idx.device)
        mask = None
        if ragged:
            mask = torch.arange(past + T, device=idx.device) <= positions[:, None, :, None]  # (B, 1, T, past + T)
        elif past and T > 1:  # not SDPA's is_causal: it aligns top-left, which is wrong once the cache holds tokens
            mask = torch.ones(T, past + T, dtype=torch.bool, device=idx.device).tril(past)

        x = self.transformer.drop(self.transformer.wte(idx) + self.transformer.wpe(positions))
        if starts is not None:
            starts = attention.cu_seqlens_for(starts, x, self.config.n_embd // self.config.n_head)
        for layer, block in enumerate(self.transformer.h):
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, mask, starts=starts, use_reentrant=False)
            else:
                x = block(x, mask, cache, layer, positions if ragged else None, starts)
        if cache is not None:
            cache.lengths += T
        return x

    @torch.no_grad()
    def grow(self, pieces):
        """Add a row for each new token; row i starts from the mean of the rows pieces[i]: what the model knows."""
        wte, n = self.transformer.wte.weight, self.config.vocab_size
        self.config.vocab_size = n + len(pieces)
        rows = wte.new_zeros(self.config.n_rows, wte.size(1))
        rows[:n] = wte[:n]
        for i, ids in enumerate(pieces):
            rows[n + i] = wte[ids].mean(dim=0)
        self.transformer.wte = Embedding.from_pretrained(rows, freeze=False, sparse=True)
