"""
Ship a model: write it for another engine, open it there, and compare it with what it is here.

    $ python export.py --out_dir=models/small-talk                                # GGUF, for llama.cpp and Ollama
    $ python export.py --out_dir=models/small-talk --to=gguf --weights=q4_k_m
    $ python export.py --out_dir=models/small-talk --to=onnx --weights=int8       # onnxruntime, Transformers.js
    $ python export.py --out_dir=models/small-talk --to=ct2 --weights=int8        # CTranslate2
    $ python export.py --out_dir=models/small-talk --to=mlx                       # Apple's MLX
    $ python export.py --out_dir=models/small-talk --push=OWNER/NAME              # the hub: says what it would send

What is written goes into the model's own folder, or --into another. docs/export.md says how to talk to it.
"""

import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import configurator
from inference.settings import BOX, TRAINED

if TYPE_CHECKING:
    from checkpoint.exported import Exported

Weights = Literal["f16", "f32", "q8_0", "q4_0", "q4_k_m", "float32", "float16", "bfloat16", "int8"]
# by target: how it can keep the weights, the default first
WEIGHTS: dict[str, tuple[str, ...]] = {
    "gguf": ("f16", "f32", "q8_0", "q4_0", "q4_k_m"),
    "onnx": ("float32", "int8"),
    "ct2": ("float32", "float16", "bfloat16", "int8"),
    "mlx": ("float16", "float32", "bfloat16"),
}
# by target: the Python package of the engine that opens it
ENGINES = {"gguf": "llama_cpp", "onnx": "onnxruntime", "ct2": "ctranslate2", "mlx": "mlx_lm"}


@dataclass(frozen=True)
class ExportConfig:
    """Write a model for another engine, open it there, and compare it with what it is here."""

    old_names = {
        **dict.fromkeys(("format", "target"), "to"),
        **dict.fromkeys(("outtype", "quantize", "quantization", "dtype"), "weights"),
        **dict.fromkeys(("outfile", "output", "out"), "into"),
        **dict.fromkeys(("model", "model_path", "ckpt", "checkpoint"), "init_from"),
    }

    out_dir: str = TRAINED  # the model folder that train.py wrote; while there is none, models/small-talk
    init_from: str | None = None  # in its place: any GPT-2 folder, a LoRA adapter, or a name of the hub
    to: Literal["gguf", "onnx", "ct2", "mlx"] = "gguf"  # llama.cpp and Ollama; ONNX and browsers; CTranslate2; Apple
    weights: Weights | None = None  # how they are kept; none: f16, or what the format calls its most exact
    into: str | None = None  # the folder to write to; none: the model's own
    push: str | None = None  # instead: list what of the folder, exports too, would go to the hub as OWNER/NAME
    push_really: bool = False  # and send it
    check: bool = True  # open what was written with its engine, and compare
    threads: int | None = None  # CPU threads of the comparison; none: one a core

    def __post_init__(self) -> None:
        if self.weights and self.weights not in WEIGHTS[self.to]:
            raise ValueError(f"weights ({self.weights}) of to ({self.to}) must be one of {', '.join(WEIGHTS[self.to])}")
        if self.push is not None and not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", self.push):
            raise ValueError(f"push ({self.push}) must be the name of a model on the hub, OWNER/NAME")
        if self.push_really and self.push is None:
            raise ValueError(f"push_really ({self.push_really}) needs push, the name on the hub: --push=OWNER/NAME")

    @property
    def folder(self) -> str:
        """Where the model is: what was named, else what was trained, else the model in the box."""
        named = self.init_from or self.out_dir
        return str(BOX) if named == TRAINED and not Path(named).exists() and BOX.exists() else named

    @property
    def destination(self) -> Path:
        """The folder to write to: --into, the model's own, or one with the last part of a hub's name."""
        folder = Path(self.folder)
        return Path(self.into) if self.into else folder if folder.is_dir() else Path(f"export-{folder.name}")


def export(config: ExportConfig) -> None:
    """Write the model, compare it if its engine is installed, and say what was and was not checked."""
    if config.push:
        from checkpoint import push

        for line in push.push(Path(config.folder), config.push, config.push_really):
            print(line, flush=True)
        return
    from checkpoint import card, exported  # torch takes seconds to import: --help and a wrong flag need not wait
    from inference.settings import check_exists

    check_exists(config.folder)
    weights = config.weights or WEIGHTS[config.to][0]
    write, open_engine = format_of(config.to)
    path = write(config.folder, config.destination, weights)
    card.write(config.folder, config.destination)
    print(f"wrote {path} ({exported.megabytes(path):.1f} MB)")
    package = ENGINES[config.to]
    if not config.check:
        print("not checked: --check=false")
    elif importlib.util.find_spec(package) is None:
        print(
            f"not checked, for {package} is not installed: whether it opens, says the same, and how fast; "
            f"pip install -r runs/requirements-export.txt, and export again",
            file=sys.stderr,
        )
    else:
        print(exported.table(exported.compare(config.folder, open_engine, path, config.threads)))


def format_of(to: str) -> "tuple[Callable[[str, Path, str], Path], Callable[[Path, int], Exported]]":
    """
    Of a target: (write, open). write(folder of the model, folder to write to, weights) gives the path of what it wrote;
    open(that path, CPU threads) an engine that has opened it.
    """
    if to == "gguf":
        from checkpoint import gguf, llamacpp

        return gguf.export_gguf, llamacpp.LlamaCpp
    if to == "onnx":
        from checkpoint import onnx

        return onnx.write_onnx, onnx.OnnxRuntime
    if to == "ct2":
        from checkpoint import ctranslate

        return ctranslate.write_ct2, ctranslate.CTranslate2
    from checkpoint import mlx

    return mlx.write_mlx, mlx.Mlx


if __name__ == "__main__":
    configurator.main(export, ExportConfig)
