"""
How likely a model finds what people said: nats of each reply, and which of twenty replies it finds likeliest.

    for reply in replies(model, template, conversations):
        reply.conversation, reply.text, reply.words_nats, reply.end_nats

Any model that tokenization/chat_template.py can speak to is scored on the same words, whatever its tokenizer.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from model import KVCache
from tokenization.chat_format import turns
from tokenization.context import messages_in_view, split_to_fit

TOKENS = 2048  # a forward pass, about: with GPT-2's vocabulary the logits of more would not fit in a laptop


@dataclass(frozen=True)
class ScoredReply:
    """One reply of the bot in the data: the nats of its n words' tokens, and of what ends it."""

    conversation: int  # number of the conversation that it is from
    text: str
    n_tokens: int  # without the end
    words_nats: float
    end_nats: float


@torch.inference_mode()
def replies(model, template, conversations, progress=lambda n: None):
    """The ScoredReply of every reply in a list of conversations (messages). progress: told how many are done."""
    work = [
        (i, part, ids, supervised)
        for i, messages in enumerate(conversations)
        for part, (ids, supervised) in split_to_fit(messages, template, model.config.block_size)
    ]
    work.sort(key=lambda item: len(item[2]))  # rows of one length waste nothing on padding
    found = []
    while work:
        n = max(1, TOKENS // len(work[-1][2]))
        batch, work = work[-n:], work[:-n]
        for (i, part, _, supervised), nats in zip(batch, token_nats(model, template, batch), strict=True):
            spoken = [text for role, text in turns(part) if role == "assistant"]
            for text, run in zip(spoken, runs(nats, supervised), strict=True):
                found.append(ScoredReply(i, text, len(run) - 1, float(run[:-1].sum()), float(run[-1])))
        progress(len({item[0] for item in batch}))
    return sorted(found, key=lambda reply: reply.conversation)


def token_nats(model, template, batch):
    """For each (.., ids, supervised): an array of the ids' nats, 0 where they are not supervised."""
    longest = max(len(ids) for *_, ids, _ in batch) - 1
    idx = torch.zeros(len(batch), longest, dtype=torch.long)
    targets = torch.full((len(batch), longest), -1)
    for row, (*_, ids, supervised) in enumerate(batch):
        idx[row, : len(ids) - 1] = torch.tensor(ids[:-1])
        wanted = torch.tensor(ids[1:])
        wanted[torch.tensor(supervised[1:]) == 0] = -1
        targets[row, : len(ids) - 1] = wanted
    where = model.transformer.wpe.weight.device
    learned = targets >= 0
    logits = model.head(model.hidden_states(idx.to(where))[learned.to(where)])
    nats = F.cross_entropy(logits[:, : template.n_vocab].float(), targets[learned].to(where), reduction="none")
    table = np.zeros((len(batch), longest + 1))
    table[:, 1:][learned.numpy()] = nats.double().cpu().numpy()
    return table


def runs(nats, supervised):
    """The nats of each run of supervised ids."""
    edges = np.flatnonzero(np.diff(np.array([0, *supervised, 0])))
    return [nats[start:end] for start, end in edges.reshape(-1, 2)]


@torch.inference_mode()
def candidate_nats(model, template, messages, candidates):
    """Mean nats a token of each candidate reply (a text) to `messages`, its end included; the prompt is read once."""
    block_size = model.config.block_size
    said = [template.reply(text)[: block_size // 4] for text in candidates]
    longest = max(map(len, said))
    prompt = template.prompt(messages_in_view(messages, template.prompt, block_size - longest))
    weight = model.transformer.wpe.weight
    shape = dataclasses.replace(model.config, block_size=len(prompt) + longest)
    cache = KVCache(shape, len(said), weight.device, weight.dtype)
    first = model(torch.tensor([prompt], device=weight.device), cache=cache[:1], last_only=True)
    cache.k[:] = cache.k[:, :1]
    cache.v[:] = cache.v[:, :1]
    cache.lengths[:] = len(prompt)
    idx = torch.tensor([ids + [0] * (longest - len(ids)) for ids in said], device=weight.device)
    later = model(idx[:, :-1], cache=cache) if longest > 1 else first[:, :0].expand(len(said), 0, -1)
    logits = torch.cat([first.expand(len(said), 1, -1), later], dim=1)[..., : template.n_vocab].float()
    nats = F.cross_entropy(logits.flatten(0, 1), idx.flatten(), reduction="none").view(idx.shape).double()
    lengths = torch.tensor([len(ids) for ids in said], device=weight.device)
    counted = torch.arange(longest, device=weight.device) < lengths[:, None]
    return ((nats * counted).sum(dim=1) / lengths).tolist()
