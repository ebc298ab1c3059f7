"""
How probable a model finds what people really said. The better it predicts people, the fewer nats it needs.

    for reply in score_replies(model, template, conversations):
        reply.conversation, reply.text, reply.words_nats, reply.end_nats

A nat is what a probability costs: -ln p of a token, as torch's cross entropy gives it. The mean over tokens is the loss
that training prints, but it depends on the tokenizer: one that cuts a text into fewer, rarer tokens has a higher loss
a token for the same text. So models of different tokenizers are compared in bits per byte: the nats of all words,
summed, over ln 2 (bits) and over the UTF-8 bytes of the same words, which are the same for every model. English text
costs a GPT-2 about 1 bit a byte; 8 is what an uncompressed byte costs.

Any model that tokenization/chat_template.py has a template for is scored on the same words.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from model import GPT, KVCache
from tokenization.chat_format import Message, turns
from tokenization.chat_template import ChatTemplate
from tokenization.context import messages_in_view, split_to_fit

BATCH_TOKENS = 2048  # in a forward pass, about: with GPT-2's vocabulary the logits of more do not fit in a laptop


@dataclass(frozen=True)
class ScoredReply:
    """One reply of the bot in the data, and how many nats a model needs for it."""

    conversation: int  # the number of the conversation that it is from
    text: str
    n_tokens: int  # without the one that ends it
    words_nats: float  # of all its tokens together
    end_nats: float  # of the token that ends it


@torch.inference_mode()
def score_replies(
    model: GPT,
    template: ChatTemplate,
    conversations: Sequence[list[Message]],
    progress: Callable[[int], object] = lambda n: None,
) -> list[ScoredReply]:
    """
    The bot's replies in the conversations, scored, in the order of the conversations; each reply sees what was said
    before it. A reply that does not fit in the model's context behind its question is left out. progress: called with
    the number of conversations in each batch that is done.
    """
    work = [
        (i, part, ids, supervised)
        for i, messages in enumerate(conversations)
        for part, (ids, supervised) in split_to_fit(messages, template, model.config.block_size)
    ]
    work.sort(key=lambda item: len(item[2]))  # rows of one length waste nothing on padding
    scored = []
    while work:
        n = max(1, BATCH_TOKENS // len(work[-1][2]))
        batch, work = work[-n:], work[:-n]
        nats = supervised_nats(model, template, [(ids, supervised) for _, _, ids, supervised in batch])
        for (i, part, _, supervised), row in zip(batch, nats, strict=True):
            texts = [text for role, text in turns(part) if role == "assistant"]
            for text, run in zip(texts, supervised_runs(row, supervised), strict=True):
                scored.append(ScoredReply(i, text, len(run) - 1, float(run[:-1].sum()), float(run[-1])))
        progress(len({item[0] for item in batch}))
    return sorted(scored, key=lambda reply: reply.conversation)


def supervised_nats(
    model: GPT, template: ChatTemplate, batch: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> np.ndarray:
    """The nats of each id of (ids, supervised) pairs, (B, longest); 0 for padding, and for an id not supervised."""
    longest = max(len(ids) for ids, _ in batch) - 1
    idx = torch.zeros(len(batch), longest, dtype=torch.long)
    targets = torch.full((len(batch), longest), -1)
    for row, (ids, supervised) in enumerate(batch):
        idx[row, : len(ids) - 1] = torch.tensor(ids[:-1])
        learned = torch.tensor(ids[1:])
        learned[torch.tensor(supervised[1:]) == 0] = -1
        targets[row, : len(ids) - 1] = learned
    device = model.transformer.wpe.weight.device
    is_target = targets >= 0
    logits = model.head(model.hidden_states(idx.to(device))[is_target.to(device)])  # only where a token counts
    logits = logits[:, : template.n_vocab].float()  # rows behind these stand for no token of this model
    nats = F.cross_entropy(logits, targets[is_target].to(device), reduction="none")
    table = np.zeros((len(batch), longest + 1))
    table[:, 1:][is_target.numpy()] = nats.double().cpu().numpy()
    return table


def supervised_runs(nats: np.ndarray, supervised: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the nats of each run of supervised ids: a reply and its end."""
    edges = np.flatnonzero(np.diff(np.array([0, *supervised, 0])))
    for start, end in edges.reshape(-1, 2):
        yield nats[start:end]


@torch.inference_mode()
def candidate_nats(
    model: GPT, template: ChatTemplate, messages: list[Message], candidates: Sequence[str]
) -> list[float]:
    """
    For each candidate reply (a text) to `messages`: its mean nats a token, the end included. The prompt is computed
    once for all of them; a candidate is cut at a quarter of the context. Raises InputError if the prompt does not fit.
    """
    block_size = model.config.block_size
    replies = [template.reply(text)[: block_size // 4] for text in candidates]
    longest = max(map(len, replies))
    prompt = template.prompt(messages_in_view(messages, template.prompt, block_size - longest))
    weight = model.transformer.wpe.weight
    shape = dataclasses.replace(model.config, block_size=len(prompt) + longest)
    cache = KVCache(shape, len(replies), weight.device, weight.dtype)
    first = model(torch.tensor([prompt], device=weight.device), cache=cache[:1], last_only=True)
    cache.k[:] = cache.k[:, :1]  # every row continues the same prompt
    cache.v[:] = cache.v[:, :1]
    cache.lengths[:] = len(prompt)
    idx = torch.tensor([ids + [0] * (longest - len(ids)) for ids in replies], device=weight.device)  # (B, longest)
    later = model(idx[:, :-1], cache=cache) if longest > 1 else first[:, :0].expand(len(replies), 0, -1)
    logits = torch.cat([first.expand(len(replies), 1, -1), later], dim=1)[..., : template.n_vocab].float()
    nats = F.cross_entropy(logits.flatten(0, 1), idx.flatten(), reduction="none").view(idx.shape).double()
    lengths = torch.tensor([len(ids) for ids in replies], device=weight.device)
    counted = torch.arange(longest, device=weight.device) < lengths[:, None]
    return ((nats * counted).sum(dim=1) / lengths).tolist()
