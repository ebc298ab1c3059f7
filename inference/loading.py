"""From a model folder to an Engine on a device."""

import concurrent.futures
import functools
from collections.abc import Callable
from typing import Any

from checkpoint import model_folder
from inference.engine import Engine
from inference.settings import EngineConfig, check_exists
from model import GPTConfig
from runtime.device import DTYPES, choose_device, one_thread
from runtime.errors import InputError
from tokenization.chat_template import template_for


def open_engine(
    settings: EngineConfig, slots: int | Callable[[GPTConfig], int] = 1, wide: bool = True
) -> tuple[Engine, dict[str, Any]]:
    """
    An Engine, for the thread that calls this, and the content of the folder's chat.json, {} if another program made it.

    slots: how many sequences it generates at once, or a function of the model's config that says so. wide: whether the
    tokens of many slots may be computed together in bfloat16, which is faster and rounds differently. Raises
    InputError.
    """
    device = choose_device(settings.device, settings.dtype, settings.threads)
    dtype = DTYPES[device.dtype]
    folder = settings.folder
    check_exists(folder)
    weights = settings.weights
    if weights == "auto":
        weights = "int8" if device.type == "cpu" and settings.dtype == "auto" else "full"
    if weights != "full" and device.type != "cpu":
        raise InputError(f"--weights={weights} is for a CPU, this is {device.name}; leave it out, or --device=cpu")
    if weights == "full":
        model, tokenizer, chat = model_folder.load(folder)
        if device.type != "cpu" or settings.dtype != "auto":  # else float32 is not slower to compute than to convert
            model = model.to(device.name, dtype)
    else:
        from inference.cpu_decoder import compile_kernels  # in here: a GPU has no use for numba
        from inference.quantize import QuantizedLinear, quantize_model

        packed = functools.partial(QuantizedLinear, weight_format=weights, dtype=dtype)
        # the kernels are compiled while the weights are read
        with concurrent.futures.ThreadPoolExecutor(1) as pool, one_thread():
            compiled = pool.submit(compile_kernels, weights)
            model, tokenizer, chat = model_folder.load(folder, make_linear=packed)
            model = quantize_model(model, weights, dtype)
            compiled.result()
    for name, ids in (("logit_bias", settings.logit_bias), ("stop_ids", settings.stop_ids)):
        for token_id in ids:
            if token_id >= model.config.vocab_size:
                last = model.config.vocab_size - 1
                raise InputError(f"{name}: {token_id} is no token of {folder}; its ids go from 0 to {last}")
    n_slots = slots if isinstance(slots, int) else slots(model.config)
    template = template_for(model_folder.speech_folder(folder), tokenizer, chat)
    engine = Engine(model, tokenizer, template, n_slots)
    if wide and engine.runner.decoder and n_slots > engine.runner.decoder.WIDE:
        engine.runner.wide = engine.runner.decoder.widen()
    return engine, chat
