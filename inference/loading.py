"""A model folder to an Engine on a device."""

import concurrent.futures
import functools
from dataclasses import dataclass
from typing import Literal

from checkpoint import model_folder
from inference.cpu_decoder import CPUDecoder, compile_kernels
from inference.engine import Engine
from inference.quantize import QuantizedLinear, quantize_model
from inference.sampling import SamplingParams
from runtime import device
from runtime.errors import InputError
from tokenization.chat_template import template_for


@dataclass(frozen=True)
class EngineConfig(SamplingParams):
    """Where the model is and how it speaks: shared by every script that generates."""

    out_dir: str = "out-chat"  # the model folder that train.py wrote
    init_from: str | None = None  # in its place: any GPT-2 folder, or gpt2, gpt2-medium, gpt2-large, gpt2-xl
    device: str = "auto"  # cpu, cuda, cuda:1, mps
    dtype: str = "auto"  # float32, bfloat16, float16: what is computed in
    weights: Literal["auto", "full", "bfloat16", "int8", "int4"] = "auto"  # how a CPU keeps them; auto: int8
    threads: int | None = None  # CPU threads; default: one a core


def open_engine(settings, slots=1):
    """(Engine, chat.json's content) for an EngineConfig. Raises InputError."""
    where = device.choose(settings.device, settings.dtype, settings.threads)
    folder = settings.init_from or settings.out_dir
    weights = settings.weights
    if weights == "auto":
        weights = "int8" if where.type == "cpu" and settings.dtype == "auto" else "full"
    if weights != "full" and where.type != "cpu":
        raise InputError(f"--weights={weights} is for a CPU, this is {where.name}; leave it out, or --device=cpu")
    if weights == "full":
        model, tokenizer, chat = model_folder.load(folder)
        if where.type != "cpu" or settings.dtype != "auto":  # else float32 is not slower to compute than to convert
            model = model.to(where.name, device.DTYPES[where.dtype])
    else:
        packed = functools.partial(QuantizedLinear, format=weights, dtype=device.DTYPES[where.dtype])
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            compiled = pool.submit(compile_kernels, weights)
            model, tokenizer, chat = model_folder.load(folder, linear=packed)
            model = quantize_model(model, weights, device.DTYPES[where.dtype])
            compiled.result()
    opened = Engine(model, tokenizer, template_for(folder, tokenizer, chat), slots)
    if opened.decoder and slots > CPUDecoder.WIDE:
        opened.wide = opened.decoder.widen()
    return opened, chat
