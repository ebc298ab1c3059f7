"""
Pairs of a better and a worse answer to the same talk, for training by preference. prepare.py keeps them beside what is
learned, whether they are people's feedback or another file's "chosen" and "rejected":

    data/feedback/train.pairs.jsonl     {"messages": [..., the better answer], "rejected": "the worse one"}

    pairs, n_too_long = open_pairs("data/feedback", "train", tokenizer, block_size=512)
    loader = Loader(pairs, 512, tokenizer, group=2)
"""

import array
import json
from pathlib import Path
from typing import Any

import numpy as np

from dataset.folder import Split
from runtime.errors import InputError
from tokenization import chat_format
from tokenization.chat_format import Message
from tokenization.context import messages_in_view
from tokenization.tokenizer import Tokenizer


def open_pairs(folder: str | Path, split: str, tokenizer: Tokenizer, block_size: int) -> tuple[Split, int]:
    """
    The Split of 2n conversations, each pair's better one and then its worse one, of which the last answer alone is
    supervised, and how many pairs were left out, since an answer and its question do not fit in block_size tokens. Of
    longer talks the first turns go. Raises InputError where the file is damaged. No file: no pairs.
    """
    path = Path(folder) / f"{split}.pairs.jsonl"
    ids, supervised, starts, n_too_long = array.array("H"), bytearray(), [0], 0
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            pair = json.loads(line)
            conversations = rendered_pair(pair["messages"], pair["rejected"], tokenizer, block_size)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}:{number}: no pair ({error!r:.80}); prepare the data anew") from None
        n_too_long += not conversations
        for conversation in conversations:
            ids.extend(conversation[0])
            supervised.extend(conversation[1])
            starts.append(len(ids))
    learned = np.frombuffer(bytes(supervised), dtype=np.uint8)
    return Split(np.array(ids, dtype=np.uint16), learned, np.array(starts, dtype=np.int64)), n_too_long


def rendered_pair(
    messages: list[Message], rejected: str, tokenizer: Tokenizer, block_size: int
) -> list[tuple[list[int], list[int]]]:
    """[(ids, supervised) of the better conversation, the same of the worse]; [] if they do not fit."""
    answers: list[dict[str, Any]] = [messages[-1], {**messages[-1], "content": rejected}]
    longest = max(len(tokenizer.encode(" " + answer["content"])) for answer in answers)
    try:
        seen = messages_in_view(messages[:-1], lambda part: chat_format.prompt(part, tokenizer), block_size - longest)
    except InputError:
        return []
    unlearned: list[Message] = [{**each, "weight": 0} if each["role"] == "assistant" else each for each in seen]
    both = [chat_format.render([*unlearned, answer], tokenizer) for answer in answers]
    return both if all(len(ids) <= block_size + 1 for ids, _ in both) else []
