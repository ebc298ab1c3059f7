"""
The engines that bench.py times, ours among them, all on the weights of one model folder and the same prompts, each in a
process of its own: nobody's threads or memory count for another's.

    with Contender("llamacpp", folder, "int8", threads=2, batch=8, prompt_tokens=64, new_tokens=64) as one:
        one.run(prompts)        # Timing(first, whole, resident)

A reply is greedy and has new_tokens tokens, whatever they are.
"""

import contextlib
import functools
import importlib.util
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch

from checkpoint import model_folder
from checkpoint.gguf import write_gguf
from inference.loading import open_engine
from inference.settings import EngineConfig, SamplingParams
from model import GPT, GPTConfig
from runtime.errors import InputError
from tokenization import tokenizer


@contextlib.contextmanager
def model_to_measure(config):
    """(the folder to measure, a folder for what is made of it); "random" makes a GPT-2 124M."""
    with tempfile.TemporaryDirectory() as work:
        folder = config.init_from
        if folder == "random":
            torch.manual_seed(0)
            words = tokenizer.load("gpt2")
            folder = str(Path(work, "gpt2-random"))
            model_folder.save(folder, GPT(GPTConfig(vocab_size=words.n_vocab)), words, {})
        yield folder, work


class Timing(NamedTuple):
    first: float  # seconds until every prompt has its first new token
    whole: float  # seconds until the last one
    resident: float  # MB of the process


def decoded(logits_after, prompts, new_tokens):
    """(first, whole) seconds. logits_after(rows): logits (B, n_vocab) after each row's ids that it has not seen yet."""
    begun = time.perf_counter()
    rows = logits_after(prompts).argmax(-1).tolist()
    first = time.perf_counter() - begun
    for _ in range(new_tokens - 1):
        rows = logits_after([[id] for id in rows]).argmax(-1).tolist()
    return first, time.perf_counter() - begun


class Ours:
    def __init__(self, folder, weights, threads, batch, **_):
        settings = EngineConfig(init_from=folder, weights=weights, threads=threads)
        self.engine, _ = open_engine(settings, slots=batch)
        self.label = f"nanoChatGPT {weights}"
        self.bytes = self.engine.bytes_read

    def run(self, prompts, new_tokens):
        greedy = SamplingParams(temperature=0, repetition_penalty=1.0, max_new_tokens=new_tokens)
        begun = time.perf_counter()
        sequences = [self.engine.add_request(ids, greedy) for ids in prompts]
        while not all(sequence.num_generated for sequence in sequences):
            self.engine.step()
        first = time.perf_counter() - begun
        while any(self.engine.running):
            self.engine.step()
        return first, time.perf_counter() - begun


class Uncached:
    """nanoGPT's generate: the whole context anew for each token, float32."""

    label = "no KV cache, as nanoGPT"

    def __init__(self, folder, **_):
        self.model, _, _ = model_folder.load(folder)

    @torch.inference_mode()
    def run(self, prompts, new_tokens):
        seen = [[] for _ in prompts]

        def logits_after(rows):
            for ids, new in zip(seen, rows, strict=True):
                ids += new
            return self.model(torch.tensor(seen), last_only=True)[:, -1]

        return decoded(logits_after, prompts, new_tokens)


class Transformers:
    """model.generate of transformers: bfloat16, or float32 beside our full weights."""

    def __init__(self, folder, weights, **_):
        from transformers import AutoModelForCausalLM

        dtype = torch.float32 if weights == "full" else torch.bfloat16
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True).eval()
        self.label = f"transformers {str(dtype).removeprefix('torch.')}"

    @torch.inference_mode()
    def run(self, prompts, new_tokens):
        times, ids = [time.perf_counter()], torch.tensor(prompts)

        def note(*_, **__):
            times.append(time.perf_counter())
            return torch.zeros(len(prompts), dtype=torch.bool)

        length = {"min_new_tokens": new_tokens, "max_new_tokens": new_tokens}
        self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            pad_token_id=0,
            stopping_criteria=[note],
            **length,
        )
        return times[1] - times[0], times[-1] - times[0]


class CTranslate2:
    """OpenNMT's engine, in int8 also beside our int4."""

    def __init__(self, folder, weights, threads, work, **_):
        import ctranslate2

        wanted = {"full": "float32", "bfloat16": "bfloat16"}.get(weights, "int8")
        kind = wanted if wanted in ctranslate2.get_supported_compute_types("cpu") else "float32"
        converted = Path(work, f"ctranslate2-{kind}")
        if not converted.exists():
            ctranslate2.converters.TransformersConverter(folder).convert(str(converted), quantization=kind)
            path = converted / "config.json"  # a tokenizer without a token for the unknown is not thought of
            content = {"unk_token": None} | json.loads(path.read_text(encoding="utf-8"))
            text = json.dumps({**content, "unk_token": content["unk_token"] or "<|endoftext|>"})
            path.write_text(text, encoding="utf-8")
        self.generator = ctranslate2.Generator(
            str(converted), compute_type=kind, inter_threads=1, intra_threads=threads
        )
        _, tokenizer, _ = model_folder.load(folder)
        names = tokenizer.to_json()["model"]["vocab"]
        self.names = {id: name for name, id in names.items()}
        self.label = f"CTranslate2 {kind}"

    def run(self, prompts, new_tokens):
        named = [[self.names[id] for id in ids] for ids in prompts]
        times = []
        for n in (1, new_tokens):  # it does not tell when the first token came: another run of one token does
            begun = time.perf_counter()
            how = {"max_length": n, "min_length": n, "sampling_topk": 1}
            found = self.generator.generate_batch(named, include_prompt_in_result=False, **how)  # else no prefill
            times.append(time.perf_counter() - begun)
            assert all(len(each.sequences_ids[0]) == n for each in found)
        return tuple(times)


class LlamaCpp:
    """llama.cpp, through llama-cpp-python's bindings of its C interface."""

    def __init__(self, folder, weights, threads, batch, prompt_tokens, new_tokens, work):
        self.llama = llama = quiet_llama()
        llama.llama_backend_init()
        path = gguf_of(folder, weights, threads, work)
        self.model = llama.llama_model_load_from_file(str(path).encode(), llama.llama_model_default_params())
        settings = llama.llama_context_default_params()
        settings.n_ctx = batch * cells(prompt_tokens, new_tokens)
        settings.n_seq_max = batch
        settings.n_threads = settings.n_threads_batch = threads
        self.context = llama.llama_init_from_model(self.model, settings)
        self.most = llama.llama_n_batch(self.context)
        self.n_vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        self.batch = llama.llama_batch_init(self.most, 0, batch)
        self.label = f"llama.cpp {KINDS[weights][0]}"

    def run(self, prompts, new_tokens):
        llama, batch, past = self.llama, self.batch, [0] * len(prompts)
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)

        def logits_after(rows):
            tokens = [
                (id, past[row] + i, row, i + 1 == len(ids)) for row, ids in enumerate(rows) for i, id in enumerate(ids)
            ]
            found = []
            for start in range(0, len(tokens), self.most):
                part = tokens[start : start + self.most]
                batch.n_tokens = len(part)
                for i, (id, place, row, last) in enumerate(part):
                    batch.token[i], batch.pos[i], batch.logits[i] = id, place, last
                    batch.n_seq_id[i], batch.seq_id[i][0] = 1, row
                if llama.llama_decode(self.context, batch):
                    raise InputError("llama.cpp could not decode")
                for i, (*_, last) in enumerate(part):
                    if last:
                        logits = llama.llama_get_logits_ith(self.context, i)
                        found.append(np.ctypeslib.as_array(logits, (self.n_vocab,)).copy())
            for row, ids in enumerate(rows):
                past[row] += len(ids)
            return np.stack(found)

        return decoded(logits_after, prompts, new_tokens)


KINDS = {"full": ("F32", 0), "bfloat16": ("F16", 1), "int8": ("Q8_0", 7), "int4": ("Q4_0", 2)}  # llama_ftype


def cells(prompt_tokens, new_tokens):
    """Tokens of context that llama.cpp keeps for a sequence: a multiple of 256."""
    return -(-(prompt_tokens + new_tokens) // 256) * 256


@functools.cache
def quiet_llama():
    """llama-cpp-python's module, its log switched off for this process."""
    import llama_cpp as llama

    llama.say_nothing = llama.llama_log_callback(lambda *_: None)  # kept, since C calls it
    llama.llama_log_set(llama.say_nothing, None)
    return llama


def gguf_of(folder, weights, threads, work):
    """The path in the folder `work` of a model folder as GGUF with KINDS[weights], made once. Raises InputError."""
    llama = quiet_llama()
    kind, number = KINDS[weights]
    plain, path = Path(work, "F32.gguf"), Path(work, f"{kind}.gguf")
    if not plain.exists():
        write_gguf(plain, folder)
    if not path.exists():
        how = llama.llama_model_quantize_default_params()
        how.ftype, how.nthread = number, threads
        if llama.llama_model_quantize(str(plain).encode(), str(path).encode(), how):
            raise InputError(f"llama.cpp could not quantize {plain} to {kind}")
    return path


ENGINES = {"ours": Ours, "hf": Transformers, "ctranslate2": CTranslate2, "llamacpp": LlamaCpp, "uncached": Uncached}
PACKAGES = {"hf": "transformers", "ctranslate2": "ctranslate2", "llamacpp": "llama_cpp"}


def missing(name):
    """Whether the package of a peer is not installed."""
    return name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is None


class Contender:
    """An engine of ENGINES in a process of its own."""

    def __init__(self, name, **settings):
        self.name = name
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, name, settings), daemon=True)
        self.process.start()
        theirs.close()
        self.label, self.bytes = self.answer()

    def answer(self):
        try:
            answer = self.pipe.recv()
        except EOFError:
            raise InputError(f"{self.name} ended without an answer") from None
        if isinstance(answer, str):
            raise InputError(f"{self.name}: {answer}")
        return answer

    def run(self, prompts):
        self.pipe.send(prompts)
        return Timing(*self.answer())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.pipe.close()
        self.process.join(10)
        self.process.kill()


def serve(pipe, name, settings):
    """The other end of a Contender: a Timing for each list of prompts, until the pipe is closed."""
    torch.set_num_threads(settings["threads"])
    if PACKAGES.get(name) in ("transformers", "ctranslate2"):  # the latter reads a folder with the former
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        one = ENGINES[name](**settings)
        pipe.send((one.label, getattr(one, "bytes", None)))
        while True:
            times = one.run(pipe.recv(), settings["new_tokens"])
            pipe.send((*times, psutil.Process().memory_info().rss / 1e6))
    except EOFError:
        return
    except (InputError, RuntimeError, ValueError, ImportError) as error:
        pipe.send(f"{type(error).__name__}: {error}".splitlines()[0])
