"""
Training a little of a model changes nothing before the first step, only what it should after it, and is saved plain.
"""

import pytest
import torch

from runtime.errors import InputError
from training import lora


def learned(model, seed=0):
    """Give the Bs values, as training would."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if name.endswith(".B"):
            p.data = torch.randn(p.shape, generator=generator) * 0.02


def test_it_starts_as_the_model_was(tiny):
    """B is zero: the logits are the same."""
    idx = torch.arange(20)[None]
    before = tiny(idx)
    lora.add_lora(tiny, 4)
    torch.testing.assert_close(tiny(idx), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_the_new_matrices_learn(tiny, dtype):
    """Gradients reach every A and B and nothing else, in bfloat16 and with checkpointing too."""
    lora.add_lora(tiny, 4)
    learned(tiny)
    tiny.train().gradient_checkpointing = dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        tiny.loss(torch.arange(20)[None], torch.arange(1, 21)[None]).backward()
    for name, p in tiny.named_parameters():
        assert (p.grad is not None and p.grad.abs().sum() > 0) == name.endswith((".A", ".B")), name


def test_merged_weights_are_the_same_model(tiny):
    """The plain weights give the logits of the model with its matrices beside it."""
    idx, plain = torch.arange(20)[None], type(tiny)(tiny.config).eval()
    lora.add_lora(tiny, 4)
    learned(tiny)
    plain.load_state_dict(lora.merged_parameters(tiny))
    torch.testing.assert_close(plain(idx), tiny(idx), atol=1e-5, rtol=1e-4)


def test_a_plain_model_is_itself(tiny):
    assert lora.merged_parameters(tiny).keys() == dict(tiny.named_parameters()).keys()


def test_frozen_blocks(tiny):
    """The embeddings and the lowest block have no gradient; more blocks than there are is an error."""
    lora.freeze_lowest(tiny, 1)
    tiny.loss(torch.arange(20)[None], torch.arange(1, 21)[None]).backward()
    frozen = {name for name, p in tiny.named_parameters() if p.grad is None}
    assert frozen == {
        name for name, _ in tiny.named_parameters() if ".wte." in name or ".wpe." in name or ".h.0." in name
    }
    with pytest.raises(ValueError, match=r"\(3\) must be at most n_layer \(2\)"):
        lora.freeze_lowest(tiny, 3)
    with pytest.raises(ValueError, match="rank"):
        lora.add_lora(tiny, 0)
    with pytest.raises(InputError, match=r"lora_rank \(4611686018427387904\) must be at most n_embd"):
        lora.add_lora(tiny, 2**62)
