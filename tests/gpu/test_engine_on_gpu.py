"""A GPU's engine says what a CPU's says, one at a time and many at once, and serve.py serves it."""

import json
import threading

import pytest
import torch

from checkpoint import model_folder
from inference.engine import Engine
from inference.gpu_decoder import GPUDecoder
from inference.loading import open_engine
from inference.settings import EngineConfig, SamplingParams
from model import GPT, GPTConfig
from runtime.device import choose_device

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")]
GREEDY = SamplingParams(temperature=0, repetition_penalty=1.0, max_new_tokens=60)


@pytest.fixture
def folder(tokens, tmp_path):
    """A model folder with a context of 256, sure of what it says."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(block_size=256, vocab_size=tokens.n_vocab, n_layer=3, n_head=4, n_embd=128))
    with torch.no_grad():
        for p in model.parameters():
            p *= 4  # so that float32 rounds no token into another one
    model_folder.save(tmp_path / "model", model, tokens, {})
    return str(tmp_path / "model")


def opened(folder, device, slots=1):
    weights = "full"
    return open_engine(EngineConfig(init_from=folder, device=device, dtype="float32", weights=weights), slots)[0]


def said(engine, prompts, sampling=GREEDY):
    """The ids that follow each prompt, all at once."""
    sequences = [engine.add_request(ids, sampling, suppress_tokens=(0, 1)) for ids in prompts]
    new = {sequence: [] for sequence in sequences}
    while any(engine.running):
        for sequence, token in engine.step():
            new[sequence].append(token.id)
    return [new[sequence] for sequence in sequences]


def prompts_of(n, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return [
        torch.randint(5, 250, (int(torch.randint(1, 150, (1,), generator=rng)),), generator=rng).tolist()
        for _ in range(n)
    ]


def test_greedy_text_is_the_cpus(folder):
    """Token for token, over the border from one recorded span to the next."""
    choose_device("cuda", "float32")
    engine = opened(folder, "cuda")
    assert engine.runner.gpu_decoder
    for prompt in [[7] * 100, *prompts_of(3)]:
        assert said(engine, [prompt]) == said(opened(folder, "cpu"), [prompt])
    assert len(engine.runner.gpu_decoder.steps) == 2


def test_many_at_once_as_one(folder):
    """32 conversations of unlike lengths say what each says alone; so do those that are drawn with a seed."""
    many, one = opened(folder, "cuda", slots=32), opened(folder, "cuda")
    drawn = SamplingParams(temperature=0.7, seed=3, max_new_tokens=20)
    for sampling in (GREEDY, drawn):
        prompts = prompts_of(32)
        assert said(many, prompts, sampling) == [said(one, [prompt], sampling)[0] for prompt in prompts]


def test_recorded_kernels_are_the_model(tiny):
    """The logits of the recorded step are those of the model, in bfloat16 too."""
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 3e-2)):
        choose_device("cuda", "float32")
        model = GPT(tiny.config).eval().to("cuda", dtype)
        engine = Engine(model, None, template=object(), slots=2)
        assert isinstance(engine.runner.gpu_decoder, GPUDecoder)
        with torch.inference_mode():
            for position, id in enumerate((5, 9, 200)):
                found = engine.runner.gpu_decoder([id, 0], [position, 0])[0].clone()
            wanted = model(torch.tensor([[5, 9, 200]], device="cuda"), last_only=True)[0, -1].float()
        assert (found - wanted).norm() / wanted.norm() < tolerance


def test_serve_streams_and_survives_a_client_that_leaves(folder):
    """serve.py on the GPU: streams of many clients at once, of whom one leaves amid its reply."""
    for package in ("fastapi", "uvicorn", "platformdirs", "httpx"):
        pytest.importorskip(package)
    import httpx

    from benchmarks.servers import Server

    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 60, "temperature": 0, "stream": True}
    texts = []

    def ask(url, leaves=False):
        text = ""
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as response:
            assert response.status_code == 200
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    chunk = json.loads(line[6:])
                    text += chunk["choices"][0]["delta"].get("content") or "" if chunk["choices"] else ""
                    if leaves:
                        return
        texts.append(text)

    with Server(folder, slots=4, weights="full", device="cuda") as server:
        threads = [threading.Thread(target=ask, args=(server.url, i == 0)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ask(server.url)
        metrics = httpx.get(f"{server.url}/metrics").text
    assert len(texts) == 6 and len(set(texts)) == 1
    assert "slots_in_use 0" in metrics
