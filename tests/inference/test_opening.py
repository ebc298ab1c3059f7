"""A model that a thread opens while a person types: its replies, and what is told where it cannot be opened."""

import threading

import pytest

from checkpoint import model_folder
from inference.loading import open_engine
from inference.opening import NotOpened, Opening
from inference.settings import EngineConfig, SamplingParams


def test_replies_are_an_engines(learned):
    """Asked as soon as it is begun, it replies what an Engine replies that was opened in this thread."""
    settings = EngineConfig(out_dir=str(learned), device="cpu", threads=1)
    messages, sampling = [{"role": "user", "content": "hi, how are you?"}], SamplingParams(temperature=0)
    opening = Opening(settings)
    opening.start(failed=print)
    said = list(opening.reply(messages, sampling))
    engine, _ = open_engine(settings)
    assert said == list(engine.reply(messages, sampling)) and len(said) > 1 and opening.ready(0)
    assert opening.block_size == engine.block_size and opening.template.name == engine.template.name


def test_a_failure_is_told_at_once_and_whenever_it_is_asked(tiny, tokens, tmp_path):
    """A damaged folder: the callback has the reason, and so has what would have used the model."""
    model_folder.save(tmp_path, tiny, tokens, {})
    (tmp_path / "model.safetensors").write_bytes(b"not one")
    told, failures = threading.Event(), []
    opening = Opening(EngineConfig(out_dir=str(tmp_path), device="cpu"))
    opening.start(failed=lambda error: (failures.append(error), told.set()))
    assert told.wait(60) and "model.safetensors" in str(failures[0].__cause__)
    with pytest.raises(NotOpened) as refused:
        opening.max_prompt_tokens(SamplingParams())
    assert str(refused.value.__cause__) == str(failures[0].__cause__)
