"""From a model folder to an Engine on a device."""

import concurrent.futures
import functools
from typing import Any

from checkpoint import model_folder
from inference.cpu_decoder import CPUDecoder, compile_kernels, configure_numba
from inference.engine import Engine
from inference.quantize import QuantizedLinear, quantize_model
from inference.settings import EngineConfig
from runtime.device import DTYPES, choose_device
from runtime.errors import InputError
from tokenization.chat_template import template_for


def open_engine(settings: EngineConfig, slots: int = 1) -> tuple[Engine, dict[str, Any]]:
    """
    An Engine of so many slots, for the thread that calls this, and the content of the folder's chat.json, {} if
    another program made it. Raises InputError.
    """
    device = choose_device(settings.device, settings.dtype, settings.threads)
    dtype = DTYPES[device.dtype]
    folder = settings.init_from or settings.out_dir
    weights = settings.weights
    if weights == "auto":
        weights = "int8" if device.type == "cpu" and settings.dtype == "auto" else "full"
    if weights != "full" and device.type != "cpu":
        raise InputError(f"--weights={weights} is for a CPU, this is {device.name}; leave it out, or --device=cpu")
    configure_numba()
    if weights == "full":
        model, tokenizer, chat = model_folder.load(folder)
        if device.type != "cpu" or settings.dtype != "auto":  # else float32 is not slower to compute than to convert
            model = model.to(device.name, dtype)
    else:
        packed = functools.partial(QuantizedLinear, weight_format=weights, dtype=dtype)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:  # the kernels are compiled while the weights are read
            compiled = pool.submit(compile_kernels, weights)
            model, tokenizer, chat = model_folder.load(folder, make_linear=packed)
            model = quantize_model(model, weights, dtype)
            compiled.result()
    engine = Engine(model, tokenizer, template_for(folder, tokenizer, chat), slots)
    if engine.decoder and slots > CPUDecoder.WIDE:
        engine.wide = engine.decoder.widen()
    return engine, chat
