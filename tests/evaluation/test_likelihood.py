"""
The likelihoods of the report card are right: equal to transformers' on the exported folder, to the plain uncached
product of each reply alone, and complete: each reply of a conversation of any length is scored once.
"""

import pytest
import torch
from torch.nn import functional as F
from transformers import GPT2LMHeadModel

from checkpoint import model_folder
from evaluation import likelihood
from tokenization.chat_format import render
from tokenization.chat_template import ChatTags, PlainText
from tokenization.context import split_to_fit


def chat(n, words=2, persona="you like cheetahs."):
    """A persona, then n exchanges."""
    talk = [
        {"role": role, "content": f"{kind} {i}" + " and so on" * (words + i % 3)}
        for i in range(n)
        for role, kind in (("user", "question"), ("assistant", "reply"))
    ]
    return [{"role": "system", "content": persona}, *talk] if persona else talk


def test_the_loss_is_transformers(tmp_path, tiny, tokens):
    """The nats of all supervised tokens are what transformers computes from the saved folder, to 1e-4."""
    model_folder.save(tmp_path / "model", tiny, tokens, {})
    theirs = GPT2LMHeadModel.from_pretrained(tmp_path / "model").eval()
    talks = [chat(1, words=0), chat(1, words=1, persona=None), chat(2, words=0, persona=None)]
    wanted, n = 0.0, 0
    for talk in talks:
        ids, supervised = render(talk, tokens)
        assert len(ids) <= 65
        labels = torch.tensor([[id if learned else -100 for id, learned in zip(ids, supervised, strict=True)]])
        with torch.no_grad():
            wanted += float(theirs(torch.tensor([ids]), labels=labels).loss) * sum(supervised)
        n += sum(supervised)
    scored = likelihood.score_replies(tiny, ChatTags(tokens), talks)
    ours = sum(reply.words_nats + reply.end_nats for reply in scored)
    assert sum(reply.n_tokens + 1 for reply in scored) == n
    assert ours / n == pytest.approx(wanted / n, abs=1e-4)


def test_a_reply_is_scored_as_when_alone(tiny, tokens):
    """Batches of unlike lengths change nothing: each reply's nats are those of its own conversation alone."""
    talks = [chat(1, words=n, persona=None) for n in (0, 3, 1, 2, 0)]
    together = likelihood.score_replies(tiny, ChatTags(tokens), talks)
    for i, talk in enumerate(talks):
        (alone,) = likelihood.score_replies(tiny, ChatTags(tokens), [talk])
        assert together[i].conversation == i and together[i].text == talk[-1]["content"]
        assert together[i].words_nats == pytest.approx(alone.words_nats, abs=1e-4)
        assert together[i].end_nats == pytest.approx(alone.end_nats, abs=1e-4)


@pytest.mark.parametrize("template", [ChatTags, PlainText])
@pytest.mark.parametrize("n", [1, 2, 7, 20])
def test_each_reply_of_a_long_conversation_is_scored_once(tiny, tokens, template, n):
    """However long the talk, every reply that fits behind its question is scored, in a part that fits the context."""
    talk = chat(n, words=0, persona="be" if template is ChatTags else None)
    spoken = template(tokens)
    found = list(split_to_fit(talk, spoken, 64))
    assert all(len(ids) <= 65 and len(ids) == len(supervised) for _, (ids, supervised) in found)
    assert all(part[0] == talk[0] for part, _ in found) or template is PlainText
    said = [message["content"] for part, _ in found for message in part if message["role"] == "assistant"]
    assert said == [message["content"] for message in talk if message["role"] == "assistant"]
    scored = likelihood.score_replies(tiny, spoken, [talk])
    assert sorted(reply.text for reply in scored) == sorted(said)


def test_a_reply_too_long_for_the_context_is_left_out(tiny, tokens):
    """A turn that no context holds is passed over, and the talk goes on behind it."""
    talk = [*chat(2, 0, None), {"role": "user", "content": "why? " * 60}, *chat(1, 0, None)[1:], *chat(2, 0, None)]
    talk = talk[:4] + [{"role": "user", "content": "go on"}, {"role": "assistant", "content": "so " * 80}] + talk[6:]
    texts = [reply.text for reply in likelihood.score_replies(tiny, ChatTags(tokens), [talk])]
    assert len(texts) == 4 and not any("so so" in text for text in texts)


def test_candidates_are_scored_as_one_by_one(tiny, tokens):
    """Twenty candidates behind one prompt that is read once: each mean is that of the plain model on the whole text."""
    template = ChatTags(tokens)
    messages = chat(1, 0, None)[:1]
    candidates = ["no", "great, my dogs are asleep.", "naïve café", "x" * 200, "rex."]
    found = likelihood.candidate_nats(tiny, template, messages, candidates)
    for text, nats in zip(candidates, found, strict=True):
        prompt, said = template.prompt(messages), template.reply(text)[: 64 // 4]
        with torch.no_grad():
            logits = tiny(torch.tensor([prompt + said[:-1]]))
        wanted = F.cross_entropy(logits[0, len(prompt) - 1 :], torch.tensor(said))
        assert nats == pytest.approx(float(wanted), abs=1e-4)


def test_rows_that_stand_for_nothing_have_no_share(tiny, tokens):
    """A model never taught the tags is scored over its own tokens only: the tags' rows take no probability."""
    template = PlainText(tokens)
    template.n_vocab = tokens.n_vocab - 5
    talk = chat(1, 0, None)
    (reply,) = likelihood.score_replies(tiny, template, [talk])
    ids, supervised = template.render(talk)
    with torch.no_grad():
        logits = tiny(torch.tensor([ids[:-1]]))[0, :, : template.n_vocab]
    nats = F.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")[torch.tensor(supervised[1:]) == 1]
    assert reply.words_nats + reply.end_nats == pytest.approx(float(nats.sum()), abs=1e-4)
