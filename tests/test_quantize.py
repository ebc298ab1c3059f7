"""
The kernels for a CPU compute what the model itself computes: to 1e-4 in float32, and what the unpacked weights say in
fewer bits; fewer bits cost little.
"""

import copy

import pytest
import torch

import quantize
from engine import Engine
from model import GPT, GPTConfig, KVCache
from quantize import FORMATS, Decoder, packed, unpacked
from sampling import Sampling

SHAPE = dict(block_size=96, vocab_size=300, n_layer=2, n_head=3, n_embd=96)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = GPT(GPTConfig(**SHAPE)).eval()
    with torch.no_grad():
        for p in model.parameters():  # biases and norms too, or a kernel without them would pass
            p += 0.1 * torch.randn_like(p)
    return model


def stepwise(model, ids, dtype=torch.float32):
    """Logits (len(ids), n_vocab) of the Decoder: half of the ids at once, the others one by one, in slot 1 of 3."""
    decoder, cache, half = Decoder(model), KVCache(model.config, 3, dtype=dtype), len(ids) // 2
    places = list(range(len(ids)))
    rows = [decoder(ids[:half], [1] * half, places[:half], cache, places[:half])]
    for i in places[half:]:
        rows.append(decoder([ids[i]], [1], [i], cache, [0]))
    return torch.cat(rows)


def test_the_kernels_equal_the_model_in_float32(model):
    """Many tokens at once and one after the other, to 1e-4 of the uncached model."""
    ids = torch.randint(300, (90,)).tolist()
    with torch.inference_mode():
        wanted = model(torch.tensor([ids]))[0][0]
    assert torch.allclose(stepwise(model, ids), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("format", FORMATS)
def test_the_kernels_equal_the_model_of_the_same_bits(model, format):
    """A model whose weights were rounded to the format and back says the same in the kernels and in torch."""
    ids = torch.randint(300, (60,)).tolist()
    model = quantize.quantize(model, format)
    with torch.inference_mode():
        wanted = model(torch.tensor([ids]))[0][0]
    assert torch.allclose(stepwise(model, ids), wanted, atol=2e-3, rtol=2e-3)
    close = stepwise(model, ids, torch.bfloat16)  # keys and values have 8 bits
    assert (close - wanted).abs().mean() < 0.02 * wanted.abs().mean()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", [(7, 768), (5, 96), (3, 12), (4, 1)])
def test_packing_keeps_what_its_bits_can_hold(format, shape):
    """No weight moves by more than half a step of its format."""
    torch.manual_seed(1)
    weight = torch.randn(shape)
    weight[0] = 0  # a row without a largest value
    values, scales = packed(weight, format)
    again = unpacked(values, scales) * (scales[:, None] if scales.dim() == 1 else 1)
    error, largest = (again - weight).abs(), weight.abs().amax(1, keepdim=True)
    step = {"bfloat16": weight.abs() / 128, "int8": largest / 127}.get(format, largest / 8)
    assert (error <= 1.01 * step).all() if format == "int4" else (error <= 0.51 * step).all()
    assert not torch.isnan(error).any()


def test_sequences_of_a_batch_do_not_touch(model):
    """Rows of different slots, at different places, in one call: each as if alone."""
    decoder, rng = Decoder(model), torch.Generator().manual_seed(2)
    histories = [torch.randint(300, (n,), generator=rng).tolist() for n in (5, 17, 1, 30, 8)]
    cache = KVCache(model.config, 5)
    for slot, ids in enumerate(histories):
        decoder(ids, [slot] * len(ids), list(range(len(ids))), cache, [0])
    last = [7, 8, 9, 10, 11]
    together = decoder(last, list(range(5)), [len(ids) for ids in histories], cache, list(range(5)))
    with torch.inference_mode():
        for row, ids, id in zip(together, histories, last, strict=True):
            wanted = model(torch.tensor([[*ids, id]]))[0][0, -1]
            assert torch.allclose(row, wanted, atol=1e-4, rtol=1e-4)


def test_quantized_engines_speak(model, tokens):
    """A model in each format goes on with a text as the Engine's other paths do: prefill by torch, steps by kernels."""
    model = GPT(GPTConfig(**{**SHAPE, "vocab_size": tokens.n_vocab})).eval()
    greedy = Sampling(temperature=0, repetition_penalty=1.0, max_new_tokens=8)
    for format in FORMATS:
        engine = Engine(quantize.quantize(copy.deepcopy(model), format), tokens)
        long = [token.id for token in engine.generate([5] * 50, greedy)]
        engine.decoder = None
        engine.cached = [[]]
        assert [token.id for token in engine.generate([5] * 50, greedy)] == long
