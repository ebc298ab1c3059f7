"""On a GPU the model computes what it does on a CPU, packed, compiled and in 16 bits."""

import itertools

import pytest
import torch

from model import GPT, GPTConfig
from ops import attention, cross_entropy
from runtime.device import choose_device
from training import parallel

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")]


def small(**changes):
    """A random GPT, the same each time."""
    torch.manual_seed(0)
    shape = dict(block_size=128, vocab_size=500, n_layer=2, n_head=4, n_embd=128)
    return GPT(GPTConfig(**{**shape, **changes}))


def packed(n_rows=8, block_size=128, device="cuda", vocab_size=500):
    """The arguments of GPT.loss for conversations of 1 to block_size tokens, of which two thirds are learned."""
    rng = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, block_size + 1, (n_rows,), generator=rng).tolist()
    n = sum(lengths)
    ids = torch.randint(vocab_size, (n + 1,), generator=rng)
    targets = torch.where(torch.rand(n, generator=rng) < 2 / 3, ids[1:], -1)
    tensors = {
        "idx": ids[None, :-1],
        "targets": targets[None],
        "positions": torch.cat([torch.arange(length) for length in lengths])[None],
        "cu_seqlens": torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32),
        "learned": (targets >= 0).nonzero()[:, 0],
    }
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def distance(found, wanted):
    """The norm of the difference, by that of what is wanted."""
    wanted = wanted.double().cpu()
    return ((found.double().cpu() - wanted).norm() / wanted.norm()).item()


def loss_and_gradients(model, where, batch):
    model.zero_grad()
    with where.autocast():
        loss = model.loss(**batch)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-4), ("bfloat16", 2e-2), ("float16", 5e-3)])
def test_logits_and_losses_are_the_cpus(dtype, tolerance):
    """Logits, loss and each gradient are those of float32 on a CPU, to the rounding of the dtype."""
    cpu, cuda = choose_device("cpu", "float32"), choose_device("cuda", dtype)
    model, idx = small().eval(), torch.randint(500, (3, 50))
    with torch.no_grad():
        wanted = model(idx)
    wanted_loss, wanted_gradients = loss_and_gradients(model, cpu, packed(device="cpu"))
    model = model.cuda()
    with torch.no_grad(), cuda.autocast():
        assert distance(model(idx.cuda()), wanted) < tolerance
    loss, gradients = loss_and_gradients(model, cuda, packed())
    assert loss == pytest.approx(wanted_loss, rel=tolerance)
    for name, gradient in gradients.items():
        if not name.endswith("c_attn.bias"):  # a third of it, the keys', is rounding alone
            assert distance(gradient, wanted_gradients[name]) < 3 * tolerance, name


@pytest.mark.parametrize("head_size", [32, 64])
def test_packed_attention_is_that_of_each_conversation(head_size):
    """The kernel for conversations of any length, and its gradient, are SDPA's of each one alone in float32."""
    starts = torch.tensor([0, 1, 65, 321, 330, 842, 896], dtype=torch.int32, device="cuda")
    qkv = torch.randn(896, 3 * 4 * head_size, device="cuda")
    half = qkv.bfloat16().requires_grad_()
    full = half.detach().float().requires_grad_()
    layout = attention.packed_layout(starts, half, head_size, 512)
    assert layout.kernel == "varlen"
    found = attention.packed_attention(half, 4, layout)
    wanted = torch.cat([attention.single_attention(full[a:b], 4) for a, b in itertools.pairwise(starts.tolist())])
    weights = torch.randn_like(wanted)
    (found.float() * weights).sum().backward()
    (wanted * weights).sum().backward()
    assert distance(found, wanted) < 1e-2
    assert distance(half.grad, full.grad) < 2e-2


def test_compiled_is_eager(monkeypatch):
    """Blocks and loss by torch.compile give the loss and the gradients of the code as it is written, at any length."""
    for module, name in ((attention, "single_attention"), (cross_entropy, "loss_and_gradient")):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back after the test
    cuda, model = choose_device("cuda", "bfloat16"), small().train().cuda()
    batches = [packed(n_rows) for n_rows in (8, 5, 11)]
    wanted = [loss_and_gradients(model, cuda, batch) for batch in batches]
    torch.compiler.reset()
    parallel.compile_blocks(model, cuda, True, say=print)
    for (loss, gradients), batch in zip(wanted, batches, strict=True):
        found, found_gradients = loss_and_gradients(model, cuda, batch)
        assert found == pytest.approx(loss, rel=5e-3)
        for name, gradient in gradients.items():
            if not name.endswith("c_attn.bias"):
                assert distance(found_gradients[name], gradient) < 3e-2, name
    with parallel.uncompiled(model), torch.no_grad(), cuda.autocast():
        assert model.loss(**batches[0]).item() == pytest.approx(wanted[0][0], rel=1e-3)


def test_the_loss_needs_no_memory_for_all_logits():
    """Of 16,384 tokens and 50,304 rows the loss and its gradient take under 2 GB, where the logits alone take 1.6."""
    x = torch.randn(2**14, 256, device="cuda", requires_grad=True)
    weight = torch.randn(50304, 256, device="cuda", requires_grad=True)
    targets = torch.randint(50257, (2**14,), device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.autocast("cuda", torch.bfloat16):
        cross_entropy.cross_entropy(x, weight, targets, 50257).backward()
    assert torch.cuda.max_memory_allocated() - before < 2e9
