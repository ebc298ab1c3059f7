"""
The engines that bench.py times, ours among them, all on the weights of one model folder and the same prompts, each in a
process of its own.

    with EngineProcess("llamacpp", workload) as engine:
        engine.run(prompts)        # Timing(first, whole, resident)

A reply is greedy and has new_tokens tokens, whatever they are.
"""

import functools
import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import psutil
import torch
from torch.profiler import record_function

from benchmarks.settings import BenchConfig
from benchmarks.worker import Worker
from checkpoint import model_folder
from checkpoint.gguf import write_gguf
from inference.loading import open_engine
from inference.settings import EngineConfig, SamplingParams
from runtime.errors import InputError
from runtime.profiler import profiled

# weights -> llama.cpp's name of the nearest format that it has, and the number of it (enum llama_ftype in llama.h)
LLAMA_FORMATS = {"full": ("F32", 0), "bfloat16": ("F16", 1), "int8": ("Q8_0", 7), "int4": ("Q4_0", 2)}
PACKAGES = {"hf": "transformers", "ctranslate2": "ctranslate2", "llamacpp": "llama_cpp"}  # that a peer needs


@dataclass(frozen=True)
class Workload:
    """What every engine is given to do."""

    folder: str  # of the model
    weights: Literal["full", "bfloat16", "int8", "int4"]
    threads: int
    batch: int  # prompts at once
    prompt_tokens: int  # of each prompt
    new_tokens: int  # of each reply
    work: str  # a folder for converted weights
    device: str = "cpu"

    @classmethod
    def of(cls, config: BenchConfig, folder: str, work: str, batch: int) -> "Workload":
        """What the flags ask of the model in `folder`, with `batch` prompts at once."""
        return cls(
            folder=folder,
            weights=config.weights,
            threads=config.n_threads,
            batch=batch,
            prompt_tokens=config.prompt_tokens,
            new_tokens=config.new_tokens,
            work=work,
            device=config.device,
        )


class Timing(NamedTuple):
    first: float  # seconds until every prompt has its first new token
    whole: float  # seconds until the last one
    resident: float  # MB of the process


class Engine(Protocol):
    """An engine under test: made from a Workload, it runs prompts and says its name."""

    label: str

    def run(self, prompts: list[list[int]], new_tokens: int) -> tuple[float, float]:
        """(seconds until every prompt has its first new token, seconds until the last token)."""
        ...


def decode_greedily(
    next_logits: Callable[[list[list[int]]], torch.Tensor | np.ndarray], prompts: list[list[int]], new_tokens: int
) -> tuple[float, float]:
    """
    The times of Engine.run. next_logits(rows): logits (B, n_vocab) after each row's new ids: the prompts in the first
    call, one id a row in the others.
    """
    start = time.perf_counter()
    ids = next_logits(prompts).argmax(-1).tolist()
    first = time.perf_counter() - start
    for _ in range(new_tokens - 1):
        ids = next_logits([[id] for id in ids]).argmax(-1).tolist()
    return first, time.perf_counter() - start


class Ours:
    """The engine of chat.py and serve.py."""

    def __init__(self, workload: Workload) -> None:
        weights = workload.weights if workload.device == "cpu" else "full"
        settings = EngineConfig(
            init_from=workload.folder, weights=weights, threads=workload.threads, device=workload.device
        )
        self.engine, _ = open_engine(settings, slots=workload.batch)
        self.label = f"nanoChatGPT {weights if workload.device == 'cpu' else 'bfloat16'}"
        self.bytes_read = self.engine.bytes_read  # of weights, for a token

    def run(self, prompts: list[list[int]], new_tokens: int) -> tuple[float, float]:
        greedy = SamplingParams(temperature=0, repetition_penalty=1.0, max_new_tokens=new_tokens)
        start = time.perf_counter()
        sequences = [self.engine.add_request(ids, greedy) for ids in prompts]
        with record_function("prefill"):
            while not all(sequence.num_generated for sequence in sequences):
                self.engine.step()
        first = time.perf_counter() - start
        with record_function("decode"):
            while any(self.engine.running):
                self.engine.step()
        return first, time.perf_counter() - start


class Uncached:
    """nanoGPT's generate: the whole context anew for each token, float32."""

    def __init__(self, workload: Workload) -> None:
        self.model, _, _ = model_folder.load(workload.folder)
        self.label = "no KV cache, as nanoGPT"

    @torch.inference_mode()
    def run(self, prompts: list[list[int]], new_tokens: int) -> tuple[float, float]:
        contexts: list[list[int]] = [[] for _ in prompts]

        def next_logits(rows: list[list[int]]) -> torch.Tensor:
            for ids, new in zip(contexts, rows, strict=True):
                ids += new
            return self.model(torch.tensor(contexts), last_only=True)[:, -1]

        return decode_greedily(next_logits, prompts, new_tokens)


class Transformers:
    """model.generate of transformers: bfloat16, or float32 beside our full weights."""

    def __init__(self, workload: Workload) -> None:
        from transformers import GPT2LMHeadModel

        on_gpu = workload.device == "cuda"
        dtype = torch.float32 if workload.weights == "full" and not on_gpu else torch.bfloat16
        self.model = GPT2LMHeadModel.from_pretrained(workload.folder, dtype=dtype, local_files_only=True).eval()
        self.model.to(workload.device)  # pyright: ignore[reportArgumentType]
        # with a static cache `generate` compiles the step of one token, as CUDA graphs, by itself
        self.more = {"cache_implementation": "static"} if on_gpu else {}
        kind = "bfloat16, static cache, compiled" if on_gpu else str(dtype).removeprefix("torch.")
        self.label = f"transformers {kind}"

    @torch.inference_mode()
    def run(self, prompts: list[list[int]], new_tokens: int) -> tuple[float, float]:
        times, ids = [time.perf_counter()], torch.tensor(prompts, device=self.model.device)

        def note_time(*_: Any, **__: Any) -> torch.Tensor:
            if ids.is_cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter())
            return torch.zeros(len(prompts), dtype=torch.bool, device=ids.device)  # nothing ends here

        self.model.generate(  # pyright: ignore[reportAttributeAccessIssue] -- its own protocol misses what it has
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            repetition_penalty=1.0,  # the folder's own settings are chat.py's
            pad_token_id=0,
            stopping_criteria=[note_time],
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            **self.more,
        )
        return times[1] - times[0], times[-1] - times[0]


class CTranslate2:
    """OpenNMT's engine, in int8 also beside our int4."""

    def __init__(self, workload: Workload) -> None:
        import ctranslate2  # pyright: ignore[reportMissingImports] -- optional

        wanted = {"full": "float32", "bfloat16": "bfloat16"}.get(workload.weights, "int8")
        kind = wanted if wanted in ctranslate2.get_supported_compute_types("cpu") else "float32"
        converted = Path(workload.work, f"ctranslate2-{kind}")
        if not converted.exists():
            ctranslate2.converters.TransformersConverter(workload.folder).convert(str(converted), quantization=kind)
            path = converted / "config.json"  # it wants the name of an unknown token, which GPT-2's tokenizer lacks
            content = {"unk_token": None} | json.loads(path.read_text(encoding="utf-8"))
            text = json.dumps({**content, "unk_token": content["unk_token"] or "<|endoftext|>"})
            path.write_text(text, encoding="utf-8")
        self.generator = ctranslate2.Generator(
            str(converted), compute_type=kind, inter_threads=1, intra_threads=workload.threads
        )
        _, tokenizer, _ = model_folder.load(workload.folder)
        self.names = {id: name for name, id in tokenizer.to_json()["model"]["vocab"].items()}
        self.label = f"CTranslate2 {kind}"

    def run(self, prompts: list[list[int]], new_tokens: int) -> tuple[float, float]:
        named = [[self.names[id] for id in ids] for ids in prompts]

        def seconds(n: int) -> float:
            """For replies of n tokens."""
            start = time.perf_counter()
            results = self.generator.generate_batch(
                named,
                include_prompt_in_result=False,  # else there is no prefill
                max_length=n,
                min_length=n,
                sampling_topk=1,
            )
            elapsed = time.perf_counter() - start
            assert all(len(result.sequences_ids[0]) == n for result in results)
            return elapsed

        return seconds(1), seconds(new_tokens)  # it does not tell when the first token came: another run does


class LlamaCpp:
    """llama.cpp, through llama-cpp-python's bindings of its C interface."""

    def __init__(self, workload: Workload) -> None:
        self.llama = llama = quiet_llama()
        llama.llama_backend_init()
        path = gguf_of(workload.folder, workload.weights, workload.threads, workload.work)
        self.model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
        params = llama.llama_context_default_params()
        params.n_ctx = workload.batch * context_tokens(workload.prompt_tokens, workload.new_tokens)
        params.n_seq_max = workload.batch
        params.n_threads = params.n_threads_batch = workload.threads
        self.context = llama.llama_init_from_model(self.model, params)
        self.max_tokens = llama.llama_n_batch(self.context)  # of a call
        self.n_vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        self.batch = llama.llama_batch_init(self.max_tokens, 0, workload.batch)
        self.label = f"llama.cpp {LLAMA_FORMATS[workload.weights][0]}"

    def run(self, prompts: list[list[int]], new_tokens: int) -> tuple[float, float]:
        llama, batch, lengths = self.llama, self.batch, [0] * len(prompts)
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)

        def next_logits(rows: list[list[int]]) -> np.ndarray:
            tokens = [
                (id, lengths[row] + i, row, i + 1 == len(ids))
                for row, ids in enumerate(rows)
                for i, id in enumerate(ids)
            ]
            last_logits = []
            for start in range(0, len(tokens), self.max_tokens):
                part = tokens[start : start + self.max_tokens]
                batch.n_tokens = len(part)
                for i, (id, position, row, is_last) in enumerate(part):
                    batch.token[i], batch.pos[i], batch.logits[i] = id, position, is_last
                    batch.n_seq_id[i], batch.seq_id[i][0] = 1, row
                if llama.llama_decode(self.context, batch):
                    raise InputError("llama.cpp could not decode")
                for i, (*_, is_last) in enumerate(part):
                    if is_last:
                        logits = llama.llama_get_logits_ith(self.context, i)
                        last_logits.append(np.ctypeslib.as_array(logits, (self.n_vocab,)).copy())
            for row, ids in enumerate(rows):
                lengths[row] += len(ids)
            return np.stack(last_logits)

        return decode_greedily(next_logits, prompts, new_tokens)


def context_tokens(prompt_tokens: int, new_tokens: int) -> int:
    """Tokens of context that llama.cpp keeps for a sequence: a multiple of 256."""
    return -(-(prompt_tokens + new_tokens) // 256) * 256


@functools.cache
def quiet_llama() -> Any:
    """llama-cpp-python's module, its log switched off for this process."""
    import llama_cpp as llama  # pyright: ignore[reportMissingImports] -- optional

    llama.say_nothing = llama.llama_log_callback(lambda *_: None)  # C calls it, so it must not be collected
    llama.llama_log_set(llama.say_nothing, None)
    return llama


def gguf_of(folder: str, weights: str, threads: int, work: str) -> Path:
    """A model folder as a GGUF file in the folder `work`, in LLAMA_FORMATS[weights], made once. Raises InputError."""
    llama = quiet_llama()
    kind, number = LLAMA_FORMATS[weights]
    plain, path = Path(work, "F32.gguf"), Path(work, f"{kind}.gguf")
    if not plain.exists():
        write_gguf(plain, folder)
    if not path.exists():
        params = llama.llama_model_quantize_default_params()
        params.ftype, params.nthread = number, threads
        if llama.llama_model_quantize(str(plain).encode(), str(path).encode(), params):
            raise InputError(f"llama.cpp could not quantize {plain} to {kind}")
    return path


ENGINES: dict[str, Callable[[Workload], Engine]] = {
    "ours": Ours,
    "hf": Transformers,
    "ctranslate2": CTranslate2,
    "llamacpp": LlamaCpp,
    "uncached": Uncached,
}


def is_missing(name: str) -> bool:
    """Whether a peer's package is not installed."""
    return name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is None


class EngineProcess(Worker):
    """An engine of ENGINES in a process of its own. bytes_read: the weights that a token reads, None if not known."""

    def __init__(self, name: str, workload: Workload) -> None:
        super().__init__(name, run_engine, name=name, workload=workload)
        self.label, self.bytes_read = self.answer()

    def run(self, prompts: Sequence[list[int]], profile: str | None = None) -> Timing:
        """The Timing of one run on `batch` prompts. profile: a file to write a Chrome trace of the run to."""
        return Timing(*self.ask((prompts, profile)))


def run_engine(requests: Iterator[tuple[list[list[int]], str | None]], name: str, workload: Workload) -> Iterator[Any]:
    """In an EngineProcess: yields (label, bytes_read), then a Timing's fields for each request."""
    torch.set_num_threads(workload.threads)
    if PACKAGES.get(name) in ("transformers", "ctranslate2"):  # the latter reads a folder with the former
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
    engine = ENGINES[name](workload)
    yield engine.label, getattr(engine, "bytes_read", None)
    for prompts, profile in requests:
        with profiled(profile):
            first, whole = engine.run(prompts, workload.new_tokens)
        yield first, whole, psutil.Process().memory_info().rss / 1e6
