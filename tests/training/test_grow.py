"""A model that grows can do what the small one could, and from there on learns as any other."""

import pytest
import torch

from model import GPT, GPTConfig
from runtime.errors import InputError
from training.grow import CALMER, grow, with_new_vocabulary

SMALL = GPTConfig(block_size=32, vocab_size=100, n_layer=2, n_head=2, n_embd=16)


@pytest.fixture
def small():
    torch.manual_seed(0)
    model = GPT(SMALL).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p), alpha=0.1)
    return model


def test_the_function_stays(small):
    """Three times as wide and two layers deeper, without noise, the logits are the same, with and without a cache."""
    large = grow(small, n_embd=48, n_layer=4, noise=0.0).eval()
    assert (large.config.n_embd, large.config.n_layer, large.config.n_head) == (48, 4, 6)
    idx = torch.randint(0, 100, (3, 20))
    torch.testing.assert_close(large(idx), small(idx), atol=1e-4, rtol=1e-4)


def test_all_of_it_is_trained(small):
    """Every parameter but those that only zeros hide has a gradient; with noise the copies of a head differ."""
    large = grow(small, n_embd=32, n_layer=3)
    idx = torch.randint(0, 100, (2, 20))
    large.loss(idx[:, :-1].contiguous(), idx[:, 1:].contiguous()).backward()
    for name, p in large.named_parameters():
        hidden = ".h.2." in name and "c_proj" not in name  # its blocks' outputs are zero so far
        assert p.grad is not None and (hidden or p.grad.abs().sum() > 0), name
    first, second = large.transformer.h[0].attn.c_attn.weight[:32].chunk(2)
    assert not torch.equal(first, second)


def test_another_vocabulary_has_rows_of_the_same_kind(small):
    """The new embedding has the mean and the covariance of the old; the rows that stand for no token are zero."""
    large = with_new_vocabulary(small, 5000)
    old, new = small.transformer.wte.weight[:100], large.transformer.wte.weight
    assert large.config.vocab_size == 5000 and not new[5000:].any()
    torch.testing.assert_close(new[:5000].mean(0), old.mean(0), atol=0.02, rtol=0)
    torch.testing.assert_close(torch.cov(new[:5000].T), torch.cov(old.T), atol=0.003, rtol=0)
    torch.testing.assert_close(large.transformer.wpe.weight, small.transformer.wpe.weight)
    torch.testing.assert_close(large.transformer.ln_f.weight, CALMER * small.transformer.ln_f.weight)


@pytest.mark.parametrize(("n_embd", "n_layer"), [(40, 4), (8, 2), (32, 1)])
def test_what_cannot_grow_is_told(small, n_embd, n_layer):
    """One line with the shapes."""
    with pytest.raises(InputError, match=f"2 layers x 16 cannot grow to {n_layer} x {n_embd}"):
        grow(small, n_embd, n_layer)
