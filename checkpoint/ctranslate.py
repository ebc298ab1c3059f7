"""The folder that CTranslate2 reads, by its own converter, and what CTranslate2 makes of it."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from checkpoint import model_folder, plain_folder
from runtime import atomic
from runtime.errors import InputError
from tokenization.special_tokens import ENDOFTEXT


def write_ct2(folder: str | Path, into: Path, weights: str) -> Path:
    """
    Convert the model in `folder` into the folder into/ct2-WEIGHTS, which comes back, with its tokenizer. Raises
    InputError if CTranslate2 is not installed, or its converter does not take the model.
    """
    ctranslate2 = quiet_ctranslate2()
    path, loaded = into / f"ct2-{weights}", model_folder.load(folder)
    with atomic.folder(path) as new, tempfile.TemporaryDirectory() as temporary:
        plain = Path(temporary, "plain")
        plain_folder.write_plain(plain, folder, loaded)
        files = [name for name in plain_folder.SPEECH if (plain / name).exists()]
        try:
            converter = ctranslate2.converters.TransformersConverter(str(plain), copy_files=files)
            converter.convert(str(new), quantization=weights, force=True)
        except (OSError, ValueError, KeyError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)[:160]
            raise InputError(f"{folder}: CTranslate2's converter does not take it ({reason})") from None
        config = new / "config.json"  # it wants the name of an unknown token, which GPT-2's tokenizer lacks
        content = json.loads(config.read_text(encoding="utf-8"))
        content["unk_token"] = content.get("unk_token") or ENDOFTEXT
        config.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def quiet_ctranslate2() -> Any:
    """The package, and transformers, with which it reads folders, silent. Raises InputError if one is not installed."""
    try:
        import ctranslate2  # pyright: ignore[reportMissingImports] -- optional
        from transformers.utils import logging
    except ImportError as error:
        raise InputError(f"this needs CTranslate2 ({error}): pip install -r runs/requirements-export.txt") from None
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return ctranslate2


class CTranslate2:
    """A folder of write_ct2 that CTranslate2 has opened; in float32 where a CPU cannot compute in its float16."""

    def __init__(self, path: Path, threads: int) -> None:
        self.ctranslate2 = ctranslate2 = quiet_ctranslate2()
        weights = path.name.removeprefix("ct2-")
        compute_type = weights if weights in ctranslate2.get_supported_compute_types("cpu") else "float32"
        self.generator = ctranslate2.Generator(
            str(path), compute_type=compute_type, inter_threads=1, intra_threads=threads
        )
        self.names = json.loads((path / "vocabulary.json").read_text(encoding="utf-8"))  # by id
        self.label = f"CTranslate2 {ctranslate2.__version__}, {weights}"

    def named(self, ids: list[int]) -> list[str]:
        """The names of tokens, which is what CTranslate2 takes."""
        return [self.names[token] for token in ids]

    def logits(self, ids: list[int]) -> np.ndarray:
        """As checkpoint/exported.py has it."""
        logits = self.generator.forward_batch([self.named(ids)], return_log_probs=False)
        return np.array(logits.to(self.ctranslate2.DataType.float32))[0]

    def greedy(self, ids: list[int], n: int) -> list[int]:
        """As checkpoint/exported.py has it; a reply ends at the folder's eos_token."""
        result = self.generator.generate_batch(
            [self.named(ids)], include_prompt_in_result=False, max_length=n, sampling_topk=1
        )
        return result[0].sequences_ids[0]
