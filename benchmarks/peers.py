"""
The engines that bench.py times, ours among them, all on the weights of one model folder and the same prompts, each in a
process of its own.

    with EngineProcess("llamacpp", workload) as engine:
        engine.run(prompts)        # Timing(first, whole, resident)

A reply is greedy and has new_tokens tokens, whatever they are.
"""

import importlib.util
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
from checkpoint import ctranslate, llamacpp, model_folder
from checkpoint.gguf import write_gguf
from inference.loading import open_engine
from inference.settings import EngineConfig, SamplingParams
from runtime.profiler import profiled

# weights -> llama.cpp's name of the nearest format that it has
LLAMA_FORMATS = {"full": "F32", "bfloat16": "F16", "int8": "Q8_0", "int4": "Q4_0"}
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
        self.bytes_read = self.engine.runner.bytes_read  # of weights, for a token

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
        converted = Path(workload.work, f"ct2-{kind}")
        if not converted.exists():
            ctranslate.write_ct2(workload.folder, Path(workload.work), kind)
        self.engine = ctranslate.CTranslate2(converted, workload.threads)
        self.label = f"CTranslate2 {kind}"

    def run(self, prompts: list[list[int]], new_tokens: int) -> tuple[float, float]:
        named = [self.engine.named(ids) for ids in prompts]

        def seconds(n: int) -> float:
            """For replies of n tokens."""
            start = time.perf_counter()
            results = self.engine.generator.generate_batch(
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
        path = gguf_of(workload.folder, workload.weights, workload.threads, workload.work)
        n_tokens = context_tokens(workload.prompt_tokens, workload.new_tokens)
        self.model = llamacpp.LlamaCpp(path, workload.threads, n_sequences=workload.batch, n_tokens=n_tokens)
        self.label = f"llama.cpp {LLAMA_FORMATS[workload.weights]}"

    def run(self, prompts: list[list[int]], new_tokens: int) -> tuple[float, float]:
        self.model.forget()
        return decode_greedily(self.model.next_logits, prompts, new_tokens)


def context_tokens(prompt_tokens: int, new_tokens: int) -> int:
    """Tokens of context that llama.cpp keeps for a sequence: a multiple of 256."""
    return -(-(prompt_tokens + new_tokens) // 256) * 256


def gguf_of(folder: str, weights: str, threads: int, work: str) -> Path:
    """A model folder as a GGUF file in the folder `work`, in LLAMA_FORMATS[weights], made once. Raises InputError."""
    kind = LLAMA_FORMATS[weights].lower()
    plain, path = Path(work, "f32.gguf"), Path(work, f"{kind}.gguf")
    if kind in llamacpp.QUANTIZED:
        if not plain.exists():
            write_gguf(plain, folder)
        if not path.exists():
            llamacpp.quantize(plain, path, kind, threads)
    elif not path.exists():
        write_gguf(path, folder, kind)
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
