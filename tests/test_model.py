"""
model.py is GPT-2, and its shortcuts (cache, packing, checkpointing, few logits) change no number.

The oracles are transformers' GPT2LMHeadModel, the model without the shortcut, and one conversation at a time.
"""

import json

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from checkpoint import model_folder
from inference.engine import Engine
from inference.settings import SamplingParams
from model import GPT, GPTConfig, KVCache
from training.optimizer import Optimizer


def ids_of(shape, n_vocab, seed=1):
    return torch.randint(n_vocab, shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def pair(tmp_path_factory, tokens):
    """The same random GPT-2 as transformers' model and, through its saved folder, as ours."""
    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    shape = dict(n_layer=3, n_head=4, n_embd=64, n_positions=64, vocab_size=tokens.n_vocab)
    theirs = GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.2)).eval()  # far from uniform: a miss shows
    with torch.no_grad():  # a new GPT-2 has zero biases and unit norms, which would hide that we lost them
        for p in theirs.parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p) * 0.1)
    theirs.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(tokens.to_json()))  # with the chat's tokens: no row is new
    ours, _, _ = model_folder.load(folder, tokens)
    return theirs, ours


def test_logits_equal_transformers(pair):
    """Every logit of every position is transformers', to 1e-4."""
    theirs, ours = pair
    idx = ids_of((3, 64), ours.config.vocab_size)
    with torch.no_grad():
        torch.testing.assert_close(ours(idx), theirs(idx).logits, atol=1e-4, rtol=0)


def test_greedy_text_equals_transformers(pair, tokens):
    """The likeliest continuation, through our cache and loop, is what transformers' generate gives."""
    theirs, ours = pair
    start = ids_of((1, 5), ours.config.vocab_size, seed=3)
    wanted = theirs.generate(
        start, attention_mask=torch.ones_like(start), max_new_tokens=40, do_sample=False, eos_token_id=None
    )[0, 5:].tolist()
    sampling = SamplingParams(temperature=0, repetition_penalty=1.0, max_new_tokens=40)
    assert [token.id for token in Engine(ours, tokens).generate(start[0].tolist(), sampling)] == wanted
    assert len(set(wanted)) > 5


@pytest.mark.parametrize(
    "how", [dict(repetition_penalty=1.3), dict(no_repeat_ngram_size=2), dict(no_repeat_ngram_size=1)], ids=str
)
def test_greedy_text_with_penalties_equals_transformers(pair, tokens, how):
    """transformers' penalties look at all that stands before; where all of it is recent, ours give its text."""
    theirs, ours = pair
    start = ids_of((1, 5), ours.config.vocab_size, seed=3)
    with_mask = dict(attention_mask=torch.ones_like(start), max_new_tokens=40, do_sample=False, eos_token_id=None)
    wanted = theirs.generate(start, **with_mask, **how)[0, 5:].tolist()
    mine = {name.removesuffix("_size"): value for name, value in how.items()}
    sampling = SamplingParams(
        **{"temperature": 0, "repetition_penalty": 1.0, "penalty_window": 64, **mine}, max_new_tokens=40
    )
    recent = start[0].tolist()
    found = [token.id for token in Engine(ours, tokens).generate(start[0].tolist(), sampling, recent=recent)]
    assert found == wanted and len(set(wanted)) > 5


@pytest.mark.parametrize("chunks", [[64], [1] * 64, [20, 1, 1, 30, 12], [63, 1], [1, 63]])
def test_cached_equals_uncached(tiny, chunks):
    """Prefill, chunk and decode in any mixture give the logits of one pass without a cache."""
    idx = ids_of((2, 64), tiny.config.vocab_size)
    cache, at, pieces = KVCache(tiny.config, batch_size=2), 0, []
    with torch.no_grad():
        whole = tiny(idx)
        for n in chunks:
            pieces.append(tiny(idx[:, at : at + n], cache=cache))
            at += n
    assert cache.lengths.tolist() == [64] * len(cache.lengths)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-5, rtol=0)


def test_cache_set_back_forgets(tiny):
    """After cache.lengths is set back, what was behind it leaves no trace."""
    idx = ids_of((1, 20), tiny.config.vocab_size)
    cache = KVCache(tiny.config)
    with torch.no_grad():
        tiny(ids_of((1, 30), tiny.config.vocab_size, seed=9), cache=cache)
        cache.lengths[:] = 0
        tiny(idx[:, :8], cache=cache)
        last = tiny(idx[:, 8:], cache=cache, last_only=True)
        torch.testing.assert_close(last, tiny(idx)[:, -1:], atol=1e-5, rtol=0)


def test_a_context_that_is_full_says_so(tiny):
    """One token more than the context holds is refused, with and without a cache, before anything is overwritten."""
    with pytest.raises(ValueError, match="65 tokens do not fit in a context of 64"):
        tiny(ids_of((1, 65), 9))
    cache = KVCache(tiny.config)
    tiny(ids_of((1, 64), 9), cache=cache)
    with pytest.raises(ValueError, match="65 tokens"):
        tiny(ids_of((1, 1), 9), cache=cache)
    assert cache.lengths.tolist() == [64] * len(cache.lengths)


def test_a_later_token_changes_no_earlier_logit(tiny):
    """With other tokens from position 30 on, the logits up to 29 are the same to the bit."""
    idx, other = (ids_of((1, 64), tiny.config.vocab_size, seed) for seed in (1, 2))
    other[:, :30] = idx[:, :30]
    with torch.no_grad():
        a, b = tiny(idx), tiny(other)
    assert torch.equal(a[:, :30], b[:, :30])
    assert not torch.allclose(a[:, 30:], b[:, 30:])


def packed(lengths, n_vocab):
    """Conversations of these lengths as GPT.loss takes them, every third target learned."""
    T = sum(lengths)
    idx, targets = ids_of((1, T), n_vocab), ids_of((1, T), n_vocab, seed=2)
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    starts = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    return idx, torch.where(torch.arange(T) % 3 == 1, targets, -1), positions, starts


def test_conversations_in_a_row_do_not_see_each_other(tiny):
    """The packed row's loss and gradients are those of its conversations passed one at a time."""
    lengths = [20, 7, 30]
    row = packed(lengths, tiny.config.vocab_size)
    loss = tiny.loss(*row)
    loss.backward()
    grads = {name: p.grad.clone() for name, p in tiny.named_parameters()}
    tiny.zero_grad()
    n_learned, total, at = int((row[1] >= 0).sum()), 0.0, 0
    for n in lengths:
        targets = row[1][:, at : at + n]
        alone = tiny.loss(row[0][:, at : at + n], targets)
        alone = alone * int((targets >= 0).sum()) / n_learned
        alone.backward()
        total += alone.item()
        at += n
    assert abs(total - loss.item()) < 1e-5
    for name, p in tiny.named_parameters():
        torch.testing.assert_close(p.grad, grads[name], atol=1e-6, rtol=1e-4, msg=name)


def test_another_conversation_changes_nothing(tiny):
    """Other words in the first conversation of a row leave the second one's logits the same to the bit."""
    idx, targets, positions, starts = packed([20, 30], tiny.config.vocab_size)
    other = idx.clone()
    other[:, :20] = (idx[:, :20] + 1) % tiny.config.vocab_size
    with torch.no_grad():
        a, b = (tiny(x, positions, starts) for x in (idx, other))
    assert torch.equal(a[:, 20:], b[:, 20:])
    assert not torch.equal(a[:, :20], b[:, :20])


def test_loss_is_over_supervised_tokens_only(tiny):
    """The loss is the mean of -log p over targets that are not -1."""
    idx, targets, positions, starts = packed([20, 30], tiny.config.vocab_size)
    loss = tiny.loss(idx, targets, positions, starts)
    everywhere = tiny(idx, positions, starts)
    learned = targets >= 0
    wanted = -torch.log_softmax(everywhere[learned], dim=-1).gather(1, targets[learned][:, None]).mean()
    torch.testing.assert_close(loss, wanted)


def test_rows_that_stand_for_no_token_stay_silent(tiny):
    """The embedding's rows behind the last token get no logit, no gradient, and are zero after a step of AdamW."""
    n = tiny.config.vocab_size
    assert tiny.transformer.wte.weight.shape[0] % 64 == 0 and tiny.transformer.wte.weight.shape[0] > n
    assert tiny(ids_of((1, 8), n)).shape == (1, 8, n)
    optimizer = Optimizer(tiny)
    tiny.loss(ids_of((2, 8), n), ids_of((2, 8), n, seed=2)).backward()
    assert not tiny.transformer.wte.weight.grad[n:].any()
    assert tiny.transformer.wte.weight.grad[:n].any(dim=1).all()  # the softmax reaches every other row
    optimizer.step(lr=0.1)
    assert not tiny.transformer.wte.weight[n:].any()


def test_a_new_row_starts_from_the_mean_of_its_pieces():
    """grow adds the mean of the given rows, keeps the old ones to the bit, and the model's logits with them."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(block_size=16, vocab_size=127, n_layer=1, n_head=2, n_embd=32)).eval()
    idx = ids_of((1, 16), 127)
    before, rows = model(idx), model.transformer.wte.weight[:127].clone()
    model.grow([[3], [5, 9, 9]])
    wte = model.transformer.wte.weight
    assert model.config.vocab_size == 129 and wte.shape[0] == 192 and wte.requires_grad
    assert torch.equal(wte[:127], rows)
    assert torch.equal(wte[127], rows[3])
    torch.testing.assert_close(wte[128], (rows[5] + 2 * rows[9]) / 3)
    assert not wte[129:].any()
    torch.testing.assert_close(model(idx)[..., :127], before)


def test_chat_tokens_start_from_what_gpt2_knows(tmp_path, tokens):
    """A GPT-2 without our tokens gets each tag as the mean of its letters' rows, end-of-turn as the newline's row."""
    n_plain = min(tokens.system, tokens.human, tokens.bot, tokens.end_of_turn)
    small = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=32, n_positions=32, vocab_size=n_plain))
    small.save_pretrained(tmp_path)
    model, _, _ = model_folder.load(tmp_path, tokens)
    wte, rows = model.transformer.wte.weight, small.transformer.wte.weight
    assert model.config.vocab_size == tokens.n_vocab
    assert torch.equal(wte[:n_plain], rows)
    torch.testing.assert_close(wte[tokens.bot], rows[tokens.encode("[Bot]:")].mean(dim=0))
    torch.testing.assert_close(wte[tokens.human], rows[tokens.encode("[Human]:")].mean(dim=0))
    torch.testing.assert_close(wte[tokens.end_of_turn], rows[tokens.encode("\n")[0]])


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradient_checkpointing_changes_no_gradient(tiny, dropout):
    """Recomputing the blocks in backward gives the same loss and gradients, with dropout too."""
    torch.manual_seed(0)
    config = GPTConfig(64, tiny.config.vocab_size, 2, 2, 32, dropout=dropout)
    row, grads = packed([20, 7, 30], config.vocab_size), []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = GPT(config, gradient_checkpointing=checkpointing).train()
        loss = model.loss(*row)
        loss.backward()
        grads.append([loss, *(p.grad for p in model.parameters())])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_parameters_are_counted_as_gpt2s_paper_does():
    """GPT-2 small has 124,439,808 parameters: each once, padding rows not at all."""
    with torch.device("meta"):
        assert GPT(GPTConfig()).num_params() == 124_439_808
