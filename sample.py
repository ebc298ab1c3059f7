"""
Continue a text, as nanoGPT's sample.py does. For a chat, see chat.py.

    $ python sample.py --out_dir=out-chat --start="Once upon a time" --num_samples=3
    $ python sample.py --init_from=gpt2-xl --start=FILE:prompt.txt --max_new_tokens=500
"""

import dataclasses
from dataclasses import dataclass

import configurator
from inference.loading import open_engine
from inference.settings import EngineConfig
from inference.streaming import HeldText
from runtime.errors import InputError


@dataclass(frozen=True)
class SampleConfig(EngineConfig):
    """Continue a text with a model."""

    start: str = ""  # the beginning, or FILE:prompt.txt; empty: the beginning of a document
    num_samples: int = 1  # how many continuations


def sample(config):
    text = read_start(config.start)
    speaker, _ = open_engine(config)
    ids = [speaker.tokenizer.endoftext, *speaker.tokenizer.encode(text)]  # GPT-2 saw each document behind this token
    if len(ids) > speaker.block_size:
        raise InputError(f"--start has {len(ids)} tokens, the context {speaker.block_size}; shorten it")
    for i in range(config.num_samples):
        print(text, end="", flush=True)
        for piece in continuation(speaker, ids, config, i):
            print(piece, end="", flush=True)
        print("\n---------------" if config.num_samples > 1 else "")


def continuation(speaker, ids, config, i):
    """Yield the text that follows `ids`; a full context goes on from its last half."""
    seed = None if config.seed is None else config.seed + i
    decode, held = speaker.tokenizer.decoder(), HeldText(config.stop, strip=False)
    left = config.max_new_tokens
    while left > 0:
        if len(ids) > speaker.block_size:
            ids = ids[-(speaker.block_size // 2) :]
        sampling = dataclasses.replace(config, max_new_tokens=left, seed=seed)
        for token in speaker.generate(ids, sampling, stop_token_ids=(speaker.tokenizer.endoftext,), recent=ids):
            if token.id is None:
                left = 0
                break
            left -= 1
            ids = [*ids, token.id]
            yield held.add(decode(token.id))
            if held.stopped:
                return
    yield held.add(decode(None))
    yield held.rest()


def read_start(start):
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
