"""What a folder or file is, where it is no model that can be loaded: one line that says so, and what would be right."""

from pathlib import Path

from runtime import hub
from runtime.errors import InputError

TRAIN_HINT = "train one: python train.py config/finetune_chat.py"
# where the weights of the formats that can be read are
READABLE = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
READABLE += ("adapter_model.safetensors", "adapter_model.bin", "ckpt.pt")
CONFIGS = ("config.json", "adapter_config.json", "ckpt.pt")  # and what they are read with
# pattern of a file's name -> what the folder, or the file, is
OTHERS = {
    "*.h5": "a TensorFlow model",
    "*.ckpt.index": "a TensorFlow checkpoint",
    "model.ckpt*": "a TensorFlow checkpoint",
    "*.msgpack": "a Flax model",
    "*.onnx": "an ONNX model",
    "*.mlpackage": "a Core ML model",
    "*.tflite": "a TensorFlow Lite model",
    "zero_to_fp32.py": "a checkpoint of DeepSpeed: its zero_to_fp32.py makes a model of it",
    "*.distcp": "a checkpoint in torch's distributed format",
    "*.engine": "a TensorRT engine",
    "*.ckpt": "a checkpoint of PyTorch Lightning or TensorFlow",
    "model.*.safetensors": "a variant that transformers loads by its name; rename it to model.safetensors",
    "pytorch_model.*.bin": "a variant that transformers loads by its name; rename it to pytorch_model.bin",
    "train.bin": "a folder of data: train on it with --data_dir=",
    "*.pth": "a PyTorch file of another layout",
    "*.tar.gz": "an archive: unpack it",
    "*.zip": "an archive: unpack it",
}
LFS_POINTER = b"version https://git-lfs"


def error(folder: Path) -> InputError:
    """The InputError for a folder in which config.json or the weights are missing."""
    wanted = "a folder with config.json and model.safetensors, or a name of the hub: " + ", ".join(hub.HUB_NAMES)
    if not folder.is_dir():
        return InputError(f"{folder} has no model ({wanted}, OWNER/NAME); {TRAIN_HINT}")
    inner = models_within(folder)
    has_config = (folder / "config.json").exists()
    kept = "has a config.json but no weights (model.safetensors)" if has_config else "has no model itself"
    if inner:
        return InputError(f"{folder} {kept}, {', '.join(path.name for path in inner[:5])} in it: say {inner[0]}")
    if ggufs := sorted(folder.glob("*.gguf")):
        return InputError(
            f"{folder} {kept}, but a GGUF file ({', '.join(path.name for path in ggufs)}): say {ggufs[0]}"
        )
    for pattern, kind in OTHERS.items():
        names = sorted(path.name for path in folder.glob(pattern))
        if names:
            return InputError(f"{folder} is {kind} ({names[0]}); what can be read here is {wanted}")
    if has_config:
        return InputError(f"{folder} {kept}; {TRAIN_HINT}")
    if any((folder / name).exists() for name in READABLE):
        return InputError(f"{folder} has weights but no model: config.json, which says their shape, is missing")
    if (folder / "trainer.pt").exists():
        return InputError(
            f"{folder} has the state of a run (trainer.pt), but no model yet; go on with --init_from=resume"
        )
    if (folder / "tokenizer.json").exists() or (folder / "vocab.json").exists():
        return InputError(f"{folder} has a tokenizer, but no model ({wanted})")
    return InputError(f"{folder} has no model ({wanted}); {TRAIN_HINT}")


def models_within(folder: Path) -> list[Path]:
    """The folders within, at most two levels down, that hold a model; the one that was written last comes first."""
    candidates = {path.parent for name in READABLE for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{name}")}
    whole = [path for path in candidates if any((path / name).exists() for name in CONFIGS)]
    return sorted(whole, key=lambda path: (path.stat().st_mtime, number_in(path.name)), reverse=True)


def number_in(name: str) -> int:
    """The number at the end of a name: 500 of checkpoint-500; 0 if there is none."""
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0


def file_error(path: Path) -> InputError | None:
    """The InputError for a file that is no nanoGPT checkpoint by its name; None if it may be one."""
    if path.suffix == ".safetensors" or path.name == "pytorch_model.bin":
        return InputError(f"{path} has weights alone; say its folder, which has config.json as well: {path.parent}")
    kind = next((kind for pattern, kind in OTHERS.items() if path.match(pattern)), None)
    return (
        InputError(f"{path} is {kind}; what can be read here is a folder, a GGUF file, or nanoGPT's ckpt.pt")
        if kind
        else None
    )


def pointer(path: Path) -> str | None:
    """Why a file of weights cannot be read, if Git has put a pointer in its place; else None."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        is_pointer = file.read(len(LFS_POINTER)) == LFS_POINTER
    return "a pointer of Git LFS, not the weights themselves; fetch them: git lfs pull" if is_pointer else None
