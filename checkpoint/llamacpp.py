"""llama.cpp, through llama-cpp-python's bindings of its C interface: what it makes of a GGUF file."""

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import InputError

QUANTIZED = {"q8_0": 7, "q4_0": 2, "q4_k_m": 15}  # what its quantizer makes -> the number of it (enum llama_ftype)


@functools.cache
def quiet_llama() -> Any:
    """llama-cpp-python's module, its log switched off for this process. Raises InputError if it is not installed."""
    try:
        import llama_cpp  # pyright: ignore[reportMissingImports] -- optional
    except ImportError as error:
        raise InputError(f"this needs llama.cpp ({error}): pip install -r runs/requirements-export.txt") from None
    llama: Any = llama_cpp
    llama.say_nothing = llama.llama_log_callback(lambda *_: None)  # C calls it, so it must not be collected
    llama.llama_log_set(llama.say_nothing, None)
    llama.llama_backend_init()
    return llama


def quantize(plain: Path, path: Path, weights: str, threads: int = 0) -> None:
    """
    Make of a GGUF file `plain`, f32 or f16, one whose weights are of QUANTIZED. threads: 0 is one a core. Raises
    InputError if llama.cpp is not there, or refuses.
    """
    llama = quiet_llama()
    params = llama.llama_model_quantize_default_params()
    params.ftype, params.nthread = QUANTIZED[weights], threads
    if llama.llama_model_quantize(str(plain).encode(), str(path).encode(), params):
        raise InputError(f"llama.cpp could not quantize {plain} to {weights}")


class LlamaCpp:
    """
    A GGUF file that llama.cpp has opened, with room for `n_sequences` of `n_tokens` each; None: the model's context.
    Raises InputError if it does not open it.
    """

    def __init__(self, path: Path, threads: int, n_sequences: int = 1, n_tokens: int | None = None) -> None:
        self.llama = llama = quiet_llama()
        self.model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
        if not self.model:
            raise InputError(f"llama.cpp does not open {path}")
        self.vocab = llama.llama_model_get_vocab(self.model)
        self.n_vocab = llama.llama_vocab_n_tokens(self.vocab)
        params = llama.llama_context_default_params()
        params.n_ctx = n_sequences * (n_tokens or llama.llama_model_n_ctx_train(self.model))
        params.n_seq_max = n_sequences
        params.n_threads = params.n_threads_batch = threads
        self.context = llama.llama_init_from_model(self.model, params)
        self.max_tokens = llama.llama_n_batch(self.context)  # of a call
        self.batch = llama.llama_batch_init(self.max_tokens, 0, n_sequences)
        self.lengths = [0] * n_sequences
        self.label = f"llama-cpp-python {llama.__version__}, {path.stem.rpartition('-')[2]}"

    def forget(self) -> None:
        """Begin all sequences anew."""
        self.llama.llama_memory_clear(self.llama.llama_get_memory(self.context), True)
        self.lengths = [0] * len(self.lengths)

    def next_logits(self, rows: list[list[int]], every: bool = False) -> np.ndarray:
        """
        Logits (B, n_vocab) after the new ids of each sequence, float32. every: after every id, (all ids, n_vocab).
        Raises InputError if llama.cpp cannot.
        """
        llama, batch = self.llama, self.batch
        tokens = [
            (id, self.lengths[row] + i, row, every or i + 1 == len(ids))
            for row, ids in enumerate(rows)
            for i, id in enumerate(ids)
        ]
        logits = []
        for start in range(0, len(tokens), self.max_tokens):
            part = tokens[start : start + self.max_tokens]
            batch.n_tokens = len(part)
            for i, (id, position, row, is_wanted) in enumerate(part):
                batch.token[i], batch.pos[i], batch.logits[i] = id, position, is_wanted
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, row
            if llama.llama_decode(self.context, batch):
                raise InputError("llama.cpp could not decode")
            for i, (*_, is_wanted) in enumerate(part):
                if is_wanted:
                    pointer = llama.llama_get_logits_ith(self.context, i)
                    logits.append(np.ctypeslib.as_array(pointer, (self.n_vocab,)).copy())
        for row, ids in enumerate(rows):
            self.lengths[row] += len(ids)
        return np.stack(logits)

    def logits(self, ids: list[int]) -> np.ndarray:
        """As checkpoint/exported.py has it."""
        self.forget()
        return self.next_logits([ids], every=True)

    def greedy(self, ids: list[int], n: int) -> list[int]:
        """As checkpoint/exported.py has it; a reply ends at what the file calls the end of a turn or of a text."""
        self.forget()
        reply: list[int] = []
        new = ids
        while len(reply) < n:
            token = int(self.next_logits([new])[0].argmax())
            if self.llama.llama_vocab_is_eog(self.vocab, token):
                break
            reply.append(token)
            new = [token]
        return reply

    def tokenize(self, text: str) -> list[int]:
        """The ids of a text in which special tokens are spelled out, as a chat template makes it."""
        data = text.encode()
        ids = (ctypes.c_int32 * (len(data) + 8))()
        n = self.llama.llama_tokenize(self.vocab, data, len(data), ids, len(ids), False, True)
        return list(ids[:n])

    @property
    def chat_template(self) -> str:
        """The chat template in the file; "" if there is none."""
        return (self.llama.llama_model_chat_template(self.model, None) or b"").decode()
