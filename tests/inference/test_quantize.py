"""
The kernels for a CPU compute what the model itself computes: to 1e-4 in float32, and what the unpacked weights say in
fewer bits; fewer bits cost little.
"""

import copy
import math
import random
from types import SimpleNamespace
from typing import get_args

import psutil
import pytest
import torch

from dataset.folder import read_conversations
from dataset.prepare import PrepareConfig, prepare_folder
from evaluation import likelihood
from inference import quantize
from inference.cpu_decoder import BFloat16Matmul, CPUDecoder
from inference.engine import Engine
from inference.loading import open_engine
from inference.quantize import QuantizedLinear, WeightFormat, dequantize, quantize_model, quantize_weight
from inference.settings import EngineConfig, SamplingParams
from model import GPT, GPTConfig, KVCache
from train import TrainConfig, train

FORMATS = get_args(WeightFormat)
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
    decoder, cache, half = CPUDecoder(model), KVCache(model.config, 3, dtype=dtype), len(ids) // 2
    places = list(range(len(ids)))
    rows = [decoder(ids[:half], [1] * half, places[:half], cache, places[:half])]
    for i in places[half:]:
        rows.append(decoder([ids[i]], [1], [i], cache, [0]))
    return torch.cat(rows)


def test_the_kernels_equal_the_model_in_float32(model):
    """Many tokens at once and one after the other, to 1e-4 of the uncached model."""
    ids = torch.randint(300, (90,)).tolist()
    with torch.inference_mode():
        wanted = model(torch.tensor([ids]))[0]
    assert torch.allclose(stepwise(model, ids), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("format", FORMATS)
def test_the_kernels_equal_the_model_of_the_same_bits(model, format):
    """A model whose weights were rounded to the format and back says the same in the kernels and in torch."""
    ids = torch.randint(300, (60,)).tolist()
    model = quantize_model(model, format)
    with torch.inference_mode():
        wanted = model(torch.tensor([ids]))[0]
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
    values, scales = quantize_weight(weight, format)
    again = dequantize(values, scales) * (scales[:, None] if scales.dim() == 1 else 1)
    error, largest = (again - weight).abs(), weight.abs().amax(1, keepdim=True)
    step = {"bfloat16": weight.abs() / 128, "int8": largest / 127}.get(format, largest / 8)
    assert (error <= 1.01 * step).all() if format == "int4" else (error <= 0.51 * step).all()
    assert not torch.isnan(error).any()


def test_sequences_of_a_batch_do_not_touch(model):
    """Rows of different slots, at different places, in one call: each as if alone."""
    decoder, rng = CPUDecoder(model), torch.Generator().manual_seed(2)
    histories = [torch.randint(300, (n,), generator=rng).tolist() for n in (5, 17, 1, 30, 8)]
    cache = KVCache(model.config, 5)
    for slot, ids in enumerate(histories):
        decoder(ids, [slot] * len(ids), list(range(len(ids))), cache, [0])
    last = [7, 8, 9, 10, 11]
    together = decoder(last, list(range(5)), [len(ids) for ids in histories], cache, list(range(5)))
    with torch.inference_mode():
        for row, ids, id in zip(together, histories, last, strict=True):
            wanted = model(torch.tensor([[*ids, id]]))[0, -1]
            assert torch.allclose(row, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("format", ["full", *FORMATS])
def test_a_token_is_the_same_to_the_bit_alone_and_among_others(model, format):
    """One to nine sequences, in fours and left over: sums are taken in the same order."""
    model = model if format == "full" else quantize_model(model, format)
    decoder, rng = CPUDecoder(model), torch.Generator().manual_seed(3)
    histories = [torch.randint(300, (n,), generator=rng).tolist() for n in (5, 17, 1, 30, 8, 9, 40, 2, 3)]
    cache = KVCache(model.config, 9)
    for slot, ids in enumerate(histories):
        decoder(ids, [slot] * len(ids), list(range(len(ids))), cache, [0])
    ends = [len(ids) for ids in histories]
    alone = [decoder([slot], [slot], [ends[slot]], cache, [0])[0] for slot in range(9)]
    for n in range(2, 10):
        slots = list(range(n))
        together = decoder(slots, slots, ends[:n], cache, slots)
        assert all(torch.equal(row, one) for row, one in zip(together, alone, strict=False))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n_embd", [36, 96])
def test_what_the_kernels_cannot_hold_the_model_computes(tokens, dtype, n_embd):
    """Half precision, and a width that is no multiple of 32: the Engine speaks all the same."""
    model = GPT(GPTConfig(**{**SHAPE, "vocab_size": tokens.n_vocab, "n_embd": n_embd})).eval().to(dtype)
    engine = Engine(model, tokens)
    assert (engine.runner.decoder is not None) == (dtype == torch.bfloat16 and n_embd == 96)
    said = list(engine.generate([1, 2, 3], SamplingParams(temperature=0, max_new_tokens=4)))
    assert [token.reason for token in said] == [None, None, None, "length"]


@torch.inference_mode()
def test_prompts_of_every_length_leave_no_memory_behind():
    """A server meets them all. With a product of its own for each number of rows these 400 kept 575 MB; now 33."""
    layer = QuantizedLinear(torch.randn(256, 256), None, "int8", torch.bfloat16)
    wide, process = BFloat16Matmul(layer), psutil.Process()
    wide(torch.randn(432, 256)), layer(torch.randn(432, 256))
    before = process.memory_info().rss
    for n in range(33, 433):
        wide(torch.randn(n, 256)), layer(torch.randn(n, 256))
    assert process.memory_info().rss - before < 150e6


def test_quantized_engines_speak(model, tokens):
    """A model in each format goes on with a text as the Engine's other paths do: prefill by torch, steps by kernels."""
    model = GPT(GPTConfig(**{**SHAPE, "vocab_size": tokens.n_vocab})).eval()
    greedy = SamplingParams(temperature=0, repetition_penalty=1.0, max_new_tokens=8)
    for format in FORMATS:
        engine = Engine(quantize_model(copy.deepcopy(model), format), tokens)
        long = [token.id for token in engine.generate([5] * 50, greedy)]
        engine.runner.decoder = None
        engine.forget()
        assert [token.id for token in engine.generate([5] * 50, greedy)] == long


@pytest.fixture(scope="module")
def parrot(tmp_path_factory):
    """(folder, conversations of val) of a model that train.py taught to say what it was told: its blocks must do it."""
    folder, rng = tmp_path_factory.mktemp("parrot"), random.Random(0)
    told = [" ".join(rng.choices("abcdefghij", k=4)) for _ in range(1200)]
    turns = [[{"role": role, "content": text} for role in ("user", "assistant")] for text in told]
    records = [{"messages": sum(turns[i : i + 3], [])} for i in range(0, len(turns), 3)]
    settings = PrepareConfig(out_dir=str(folder / "data"), tokenizer="train:300", val_share=0.1)
    about = {"name": "parrot", "licence": "CC0", "url": "none"}
    prepare_folder(settings, SimpleNamespace(), lambda *_: records, about)
    shape = dict(n_layer=2, n_head=4, n_embd=128, block_size=64, batch_size=4, device="cpu", dtype="float32")
    rate = dict(learning_rate=3e-3, warmup_iters=10, max_iters=300, eval_interval=300, eval_iters=2)
    train(TrainConfig(data_dir=str(folder / "data"), out_dir=str(folder / "out"), **shape, **rate))
    return folder / "out", list(read_conversations(folder / "data", "val"))


def bits_per_byte(engine, conversations):
    scored = likelihood.score_replies(engine.model, engine.template, conversations)
    return sum(reply.words_nats for reply in scored) / math.log(2) / sum(len(reply.text.encode()) for reply in scored)


@pytest.mark.parametrize(("format", "most"), [("bfloat16", 0.01), ("int8", 0.01), ("int4", 0.04)])
def test_fewer_bits_cost_few_bits_per_byte(parrot, format, most):
    """At most 1%, in 4 bits at most 4%; weights in a wrong order cost far more."""
    folder, conversations = parrot
    whole, _ = open_engine(EngineConfig(init_from=str(folder), weights="full", device="cpu"))
    packed, _ = open_engine(EngineConfig(init_from=str(folder), weights=format, device="cpu", dtype="float32"))
    full = bits_per_byte(whole, conversations)
    assert 0.0001 < full < 0.5
    assert bits_per_byte(packed, conversations) < (1 + most) * full
    for block in packed.model.transformer.h:
        block.attn.c_attn.values.copy_(block.attn.c_attn.values.flip(1))
    assert bits_per_byte(packed, conversations) > 2 * full


def test_weights_are_packed_in_one_thread(learned, monkeypatch):
    """A folder is packed by one thread, which waits for no other; replies have as many as were asked for."""
    before, seen = torch.get_num_threads(), []
    pack = quantize.quantize_rows
    monkeypatch.setattr(quantize, "quantize_rows", lambda *args: seen.append(torch.get_num_threads()) or pack(*args))
    try:
        open_engine(EngineConfig(out_dir=str(learned), weights="int8", device="cpu", threads=2))
        assert seen and set(seen) == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
