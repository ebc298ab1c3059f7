"""
How a model does while it is trained: its loss on val, and what it answers.
"""

import itertools

import torch

from tokenization import chat_format
from training.parallel import max_rank, sum_ranks

QUESTIONS = ("hi, how are you?", "what do you like to do?", "what were we just talking about?")


@torch.no_grad()
def mean_loss(model, batches, n, where):
    """The mean over the supervised tokens of the first n batches, on all ranks: the same ones each time."""
    model.eval()
    total = torch.zeros(2, dtype=torch.float64)
    batches = list(itertools.islice(batches, n))
    least = -int(
        max_rank(-len(batches), where)
    )  # ranks compute together where a model is sharded: none has a batch more
    for batch in batches[:least]:
        with where.autocast():
            _, loss = model(*where.tensors(*batch.arrays))
        total += torch.tensor([loss.item() * batch.n_supervised, batch.n_supervised], dtype=torch.float64)
    model.train()
    total = sum_ranks(total, where)
    return (total[0] / total[1]).item()


@torch.no_grad()
def sample_replies(model, tokenizer, where, longest=24):
    """(question, what the model answers to it now, greedily) for each of QUESTIONS."""
    model.eval()
    found = []
    for question in QUESTIONS:
        ids = chat_format.prompt([{"role": "user", "content": question}], tokenizer)[-model.config.block_size :]
        reply = []
        while len(reply) < longest and len(ids) + len(reply) < model.config.block_size:
            with where.autocast():
                logits, _ = model(torch.tensor([ids + reply], device=where.name), last_only=True)
            reply.append(int(logits.argmax()))
            if reply[-1] in (tokenizer.end_of_turn, tokenizer.endoftext):
                break
        said = tokenizer.decode([id for id in reply if id != tokenizer.end_of_turn]).replace("\n", " ")
        found.append((question, said.strip()))
    model.train()
    return found
