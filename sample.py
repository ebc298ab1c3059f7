"""
Continue a text, as nanoGPT's sample.py does. For a chat, see chat.py.

    $ python sample.py --out_dir=out-chat --start="Once upon a time" --num_samples=3
    $ python sample.py --init_from=gpt2-xl --start=FILE:prompt.txt --max_new_tokens=500
"""

import dataclasses
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import configurator
from inference.settings import EngineConfig
from inference.streaming import Detokenizer, FinishReason
from runtime.errors import InputError

if TYPE_CHECKING:
    from inference.engine import Engine


@dataclass(frozen=True)
class SampleConfig(EngineConfig):
    """Continue a text with a model."""

    start: str = ""  # the beginning, or FILE:prompt.txt; empty: the beginning of a document
    num_samples: int = 1  # how many continuations

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_samples < 1:
            raise ValueError(f"num_samples ({self.num_samples}) must be at least 1")


def sample(config: SampleConfig) -> None:
    from inference.loading import open_engine  # imports torch: not at the top, so that --help and errors come at once
    from tokenization.chat_template import document

    text = read_start(config.start)
    engine, _ = open_engine(config)
    ids = document(engine.template, text)
    if missing := unknown_letters(engine, text):
        print(f"note: the model has no token for {missing}; left out", file=sys.stderr)
    if len(ids) > engine.block_size:
        raise InputError(f"--start has {len(ids)} tokens, the context {engine.block_size}; shorten it")
    for i in range(config.num_samples):
        seed = None if config.seed is None else config.seed + i
        print(text, end="", flush=True)
        for piece in continuation(engine, ids, dataclasses.replace(config, seed=seed)):
            print(piece, end="", flush=True)
        print("\n---------------" if config.num_samples > 1 else "")


def continuation(engine: "Engine", ids: list[int], config: SampleConfig) -> Iterator[str]:
    """Yield the text that follows `ids`, in pieces. When the context is full, its last half is the new prompt."""
    stops = engine.template.document_stop_ids
    detokenizer = Detokenizer(engine.tokenizer.decoder(), config.stop, strip=False)
    ids = list(ids)
    while True:
        if len(ids) > engine.block_size:
            ids = ids[-(engine.block_size // 2) :]
        sampling = dataclasses.replace(config, max_new_tokens=config.max_new_tokens - detokenizer.n_tokens)
        for token in engine.generate(ids, sampling, stop_token_ids=stops, recent=ids):
            piece = detokenizer.add(token.id, None if token.reason is FinishReason.CONTEXT else token.reason)
            yield piece.text
            if piece.reason:
                return
            if token.id is not None:
                ids.append(token.id)


def unknown_letters(engine: "Engine", text: str) -> str:
    """Up to ten characters of `text` that the model's tokenizer leaves out; "" if it can spell all of them."""
    if not engine.tokenizer.dropped:
        return ""
    missing = (letter for letter in dict.fromkeys(text) if not engine.tokenizer.encode(letter))
    return " ".join(repr(letter) for letter in itertools.islice(missing, 10))


def read_start(start: str) -> str:
    """The text of --start: itself, or the content of a file for FILE:prompt.txt."""
    if not start.startswith("FILE:"):
        return start
    path = start[len("FILE:") :]
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--start={start}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


if __name__ == "__main__":
    configurator.main(sample, SampleConfig)
