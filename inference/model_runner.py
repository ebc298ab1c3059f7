"""
The model on its device: the ids of slots in, logits out, by whichever way is fastest there. What each slot has computed
stays: of the ids that a slot is given, those that follow are all that is computed.
"""

import itertools
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch

from inference.gpu_decoder import GPUDecoder
from inference.sequence import Sequence
from model import GPT, KVCache
from runtime.load import Load

if TYPE_CHECKING:
    from inference.cpu_decoder import CPUDecoder  # it imports numba, which is of no use on a GPU


MANY = 32  # tokens, for which a look at the load costs little


class ModelRunner:
    """A model with a cache of keys and values for so many slots."""

    def __init__(self, model: GPT, slots: int) -> None:
        self.model, self.block_size = model, model.config.block_size
        self.device = model.get_parameter("transformer.wpe.weight").device
        self.decoder = cpu_decoder(model) if self.device.type == "cpu" else None
        self.kernel_rows = self.decoder.max_rows if self.decoder else 0
        # a server's clients on its machine take turns with it and are no busy core; taken for one, they got 0.66 x
        self.load = Load() if self.device.type == "cpu" and slots == 1 else None
        self.wide = False  # the decoder takes prompts and single tokens of many sequences in one call
        dtype = self.decoder.cache_dtype if self.decoder else model.get_parameter("transformer.wpe.weight").dtype
        self.cache = KVCache(model.config, slots, self.device, dtype)
        self.cached: list[list[int]] = [[] for _ in range(slots)]  # by slot: the ids whose keys and values it holds
        self.gpu_decoder = GPUDecoder(model, self.cache) if GPUDecoder.fits(model) else None
        # bytes of weights that are read for each step of decoding
        self.bytes_read = self.decoder.bytes if self.decoder else sum(p.nbytes for p in model.parameters())

    def adopt(self) -> None:
        """Let the thread that calls this compute, though another one made the runner: settings are a thread's."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)

    def copy_shared_prefix(self, slot: int, ids: list[int]) -> int:
        """Copy the longest beginning of ids that any slot has computed, if it is longer than this slot's: how much."""
        shared = [min(common_prefix_length(cached, ids), len(ids) - 1) for cached in self.cached]
        n_shared = max(shared)
        source, n_copied = shared.index(n_shared), n_shared - len(self.cached[slot])
        if n_copied <= 0:
            return 0
        for held in (self.cache.k, self.cache.v):
            held[:, slot, :, :n_shared] = held[:, source, :, :n_shared]
        self.cached[slot][:] = ids[:n_shared]
        return n_copied

    def logits(self, slots: list[int], new_ids: list[list[int]]) -> torch.Tensor:
        """
        Logits (len(slots), n_vocab), float32 on the CPU, after new_ids[i], which follow what slots[i] has cached: one
        id of each slot, or many of a single one; where the decoder is wide, any.
        """
        if self.decoder and (self.wide or len(new_ids[0]) <= self.kernel_rows):
            return self.decode(self.decoder, slots, new_ids)
        return self.forward(slots, new_ids)[:, -1]

    def all_logits(self, slot: int, new_ids: list[int]) -> torch.Tensor:
        """Logits (len(new_ids), n_vocab), float32 on the CPU, after each of new_ids, which follow what the slot has."""
        if self.decoder and (self.wide or len(new_ids) <= self.kernel_rows):
            start, rows = len(self.cached[slot]), range(len(new_ids))
            positions = [start + i for i in rows]
            return self.decoder(new_ids, [slot] * len(new_ids), positions, self.cache, list(rows))
        return self.forward([slot], [new_ids], last_only=False)[0]

    def decode(self, decoder: "CPUDecoder", slots: list[int], new_ids: list[list[int]]) -> torch.Tensor:
        """`logits` by the kernels for a CPU, which take the tokens of all slots in a flat list."""
        token_slots = [slot for slot, ids in zip(slots, new_ids, strict=True) for _ in ids]
        lengths = [len(self.cached[slot]) for slot in slots]
        positions = [n + i for n, ids in zip(lengths, new_ids, strict=True) for i in range(len(ids))]
        last_of_each = [end - 1 for end in itertools.accumulate(map(len, new_ids))]
        return decoder(list(itertools.chain(*new_ids)), token_slots, positions, self.cache, last_of_each)

    def decode_on_gpu(self, decoder: GPUDecoder, group: list[Sequence]) -> torch.Tensor | list[int]:
        """
        Logits (len(group), n_vocab), float32 on the CPU, after the last id of each sequence; where all of them want the
        likeliest token, that one's id. The other slots compute a dummy token, after all that they have cached.
        """
        ids, positions = [0] * len(self.cached), []
        for sequence in group:
            ids[sequence.slot] = sequence.ids[-1]
        for cached in self.cached:
            del cached[self.block_size - 1 :]  # a full slot forgets its last token to have a position
            positions.append(len(cached))
        logits = decoder(ids, positions)
        if not all(sequence.is_greedy for sequence in group):
            return logits.cpu()[[sequence.slot for sequence in group]]
        suppressed = {tuple(sequence.suppress_tokens) for sequence in group}
        for tokens in suppressed:
            if tokens:
                slots = [sequence.slot for sequence in group if tuple(sequence.suppress_tokens) == tokens]
                rows = slice(None) if len(suppressed) == 1 else torch.tensor(slots, device=self.device)[:, None]
                logits[rows, list(tokens)] = -torch.inf
        likeliest = logits.argmax(1).tolist()
        return [likeliest[sequence.slot] for sequence in group]

    def forward(self, slots: list[int], new_ids: list[list[int]], last_only: bool = True) -> torch.Tensor:
        """
        Logits (len(slots), 1 or all of a slot's ids, n_vocab) by the model. Slots in between compute a dummy token,
        after all that they have cached.
        """
        first, end = slots[0], slots[-1] + 1
        ids_of = dict(zip(slots, new_ids, strict=True))
        for slot in range(first, end):
            if slot not in ids_of:
                del self.cached[slot][self.block_size - 1 :]  # a full slot forgets its last token to have a position
        cache = self.cache[first:end]
        cache.lengths[:] = torch.tensor([len(self.cached[slot]) for slot in range(first, end)])
        idx = torch.tensor([ids_of.get(slot, [0]) for slot in range(first, end)], device=self.device)  # (B, T)
        with self.threads_for(idx.numel()):
            logits = self.model(idx, cache=cache, last_only=last_only)
        return logits[[slot - first for slot in slots]].float().cpu()

    def threads_for(self, n_tokens: int) -> AbstractContextManager[None]:
        """As many threads as are of use to torch for so many tokens; the kernels see to it themselves."""
        return self.load.fewer_threads() if self.load and n_tokens >= MANY else nullcontext()


def cpu_decoder(model: GPT) -> "CPUDecoder | None":
    """The kernels for a CPU, where they can compute this model."""
    from inference.cpu_decoder import CPUDecoder

    return CPUDecoder(model) if CPUDecoder.fits(model) else None


def common_prefix_length(a: list[int], b: list[int]) -> int:
    """How many ids two lists begin with alike."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
