"""A model folder to an Engine on a device."""

import concurrent.futures
import functools
from collections.abc import Callable
from typing import Any

from checkpoint import model_folder
from inference.cpu_decoder import CPUDecoder, compile_kernels
from inference.engine import Engine
from inference.quantize import QuantizedLinear, quantize_model
from inference.settings import EngineConfig
from model import GPTConfig
from runtime.device import DTYPES, choose_device
from runtime.errors import InputError
from tokenization.chat_template import template_for


def open_engine(
    settings: EngineConfig, slots: int | Callable[[GPTConfig], int] = 1, wide: bool = True
) -> tuple[Engine, dict[str, Any]]:
    """
    (Engine, chat.json's content) for an EngineConfig. slots: how many sequences it generates at once, or a function of
    the model's config that returns it. wide: whether the tokens of many slots may be computed together in bfloat16,
    which is faster and rounds differently. Raises InputError.
    """
    where = choose_device(settings.device, settings.dtype, settings.threads)
    folder = settings.init_from or settings.out_dir
    weights = settings.weights
    if weights == "auto":
        weights = "int8" if where.type == "cpu" and settings.dtype == "auto" else "full"
    if weights != "full" and where.type != "cpu":
        raise InputError(f"--weights={weights} is for a CPU, this is {where.name}; leave it out, or --device=cpu")
    if weights == "full":
        model, tokenizer, chat = model_folder.load(folder)
        if where.type != "cpu" or settings.dtype != "auto":  # else float32 is not slower to compute than to convert
            model = model.to(where.name, DTYPES[where.dtype])
    else:
        packed = functools.partial(QuantizedLinear, format=weights, dtype=DTYPES[where.dtype])
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            compiled = pool.submit(compile_kernels, weights)
            model, tokenizer, chat = model_folder.load(folder, make_linear=packed)
            model = quantize_model(model, weights, DTYPES[where.dtype])
            compiled.result()
    slots = slots if isinstance(slots, int) else slots(model.config)
    opened = Engine(model, tokenizer, template_for(folder, tokenizer, chat), slots)
    if wide and opened.decoder and slots > CPUDecoder.WIDE:
        opened.wide = opened.decoder.widen()
    return opened, chat
