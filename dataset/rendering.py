"""
Records to rendered conversations: checked, as ids, and with the hashes that find duplicates. Where there are many,
other processes do the work.
"""

import array
import collections
import concurrent.futures
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from dataset.dedup import MIN_DISTINCTIVE, SKETCH_SIZE, digest, hash64, normalized, opening_key
from runtime.errors import InputError
from tokenization.chat_format import Message, check, render, turns, without_lone_surrogates
from tokenization.tokenizer import Tokenizer

# "messages", or "text" for a document, or "ids" and "supervised"; and where the source decides "split" and "copies"
Record = dict[str, Any]
TextChange = Callable[[str], str]

BATCH_SIZE = 64  # conversations that are sent to a worker process at a time
SERIAL_BATCHES = 12  # batches rendered in this process first: with fewer in all, starting others would take longer


class RenderedConversation(NamedTuple):
    """A conversation as it is written to disk, and what decides about its split and finds its duplicates."""

    ids: bytes  # uint16
    supervised: bytes  # uint8
    n_turns: int
    n_supervised: int
    key: int  # opening_key
    exact: bytes  # hash of who said what, whatever the persona: the same talk from two sources is written once
    sketch: tuple[int, ...]  # the smallest hashes of its distinctive utterances, at most SKETCH_SIZE
    split: str  # "train" or "val" where the record says so, else ""
    copies: int  # how often it is written to train: a mixture repeats small sources
    pair: str = ""  # where a worse answer than the last one is known: JSON of the messages, and of what was "rejected"


def batches(records: Iterable[Record], place: str) -> Iterator[list[tuple[str, Record]]]:
    """Yield lists of (place, record), up to BATCH_SIZE long; a record's place is what error messages call it."""
    numbered = ((f"{place}, conversation {i}", record) for i, record in enumerate(records, 1))
    while batch := list(itertools.islice(numbered, BATCH_SIZE)):
        yield batch


def check_record(place: str, record: Record, change_text: TextChange | None) -> Record:
    """The record with its messages or its text checked and changed. Raises InputError for a bad record."""
    if "ids" in record:
        return record
    if "text" in record:
        text = without_lone_surrogates(record["text"]).strip()
        if not text:
            raise InputError(f"{place}: text must not be empty")
        return {**record, "text": change_text(text) if change_text else text}
    messages = check(record, place)
    if change_text:
        changed = ("content", "name")
        messages = [{k: change_text(text) if k in changed else text for k, text in m.items()} for m in messages]
        if "rejected" in record:
            record = {**record, "rejected": change_text(record["rejected"])}
    return {**record, "messages": messages}


def texts_of(record: Record) -> list[str]:
    """The texts of a checked record from which tokens can be learned: those that are encoded."""
    if "text" in record:
        return [record["text"]]
    return [" " + text for _, text in turns(record.get("messages", ()))]


def render_records(
    records: Iterable[Record], tokenizer: Tokenizer, place: str, change_text: TextChange | None
) -> Iterator[RenderedConversation]:
    """Yield each record rendered, in order; where there are many, other processes do the work."""
    work = batches(records, place)
    for batch in itertools.islice(work, SERIAL_BATCHES):
        yield from render_batch(batch, tokenizer, change_text)
    first = next(work, None)
    if first is None:
        return
    n_workers = os.cpu_count() or 1
    waiting = collections.deque()
    with concurrent.futures.ProcessPoolExecutor(
        n_workers, initializer=RenderWorker.start, initargs=(tokenizer, change_text)
    ) as pool:
        try:
            for batch in itertools.chain([first], work):
                waiting.append(pool.submit(RenderWorker.render, batch))
                if len(waiting) > 2 * n_workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class RenderWorker:
    """What a worker process renders with. It is sent to each process once, at its start, and not with each batch."""

    tokenizer: Tokenizer
    change_text: TextChange | None

    @classmethod
    def start(cls, tokenizer: Tokenizer, change_text: TextChange | None) -> None:
        cls.tokenizer, cls.change_text = tokenizer, change_text

    @classmethod
    def render(cls, batch: list[tuple[str, Record]]) -> list[RenderedConversation]:
        return render_batch(batch, cls.tokenizer, cls.change_text)


def render_batch(
    batch: list[tuple[str, Record]], tokenizer: Tokenizer, change_text: TextChange | None
) -> list[RenderedConversation]:
    """Each (place, record) rendered. Raises InputError for what is none."""
    return [render_record(check_record(place, record, change_text), tokenizer) for place, record in batch]


def render_record(record: Record, tokenizer: Tokenizer) -> RenderedConversation:
    """A checked record as it is written to disk."""
    if "messages" not in record:
        return render_document(record, tokenizer)
    messages: list[Message] = record["messages"]
    ids, supervised = render(messages, tokenizer)
    talk = [message for message in messages if message["role"] != "system"]
    texts = [message["content"] for message in talk]
    long_texts = {normalized(text) for text in texts if len(text) >= MIN_DISTINCTIVE}
    sketch = sorted(hash64(text) for text in long_texts if len(text) >= MIN_DISTINCTIVE)[:SKETCH_SIZE]
    speakers = "".join(message["role"][0] + "-" * (message.get("weight") == 0) for message in talk)
    return RenderedConversation(
        ids=array.array("H", ids).tobytes(),
        supervised=bytes(supervised),
        n_turns=ids.count(tokenizer.end_of_turn),
        n_supervised=sum(supervised),
        key=opening_key(messages),
        exact=digest(speakers + normalized("\n".join(texts)), 12),
        sketch=() if "split" in record else tuple(sketch),
        split=record.get("split", ""),
        copies=record.get("copies", 1),
        pair=json.dumps({"messages": messages, "rejected": record["rejected"]}) if "rejected" in record else "",
    )


def render_document(record: Record, tokenizer: Tokenizer) -> RenderedConversation:
    """A checked record that is no conversation: a text, or ids as they are, behind the <|endoftext|>."""
    ids = record["ids"] if "ids" in record else tokenizer.encode(record["text"])
    supervised = record.get("supervised", [1] * len(ids))
    rendered = array.array("H", [tokenizer.endoftext, *ids]).tobytes()
    content = digest(rendered.hex(), 12)
    return RenderedConversation(
        ids=rendered,
        supervised=bytes([0, *supervised]),
        n_turns=0,
        n_supervised=sum(supervised),
        key=int.from_bytes(content[:8], "big"),
        exact=content,
        sketch=(),
        split=record.get("split", ""),
        copies=record.get("copies", 1),
    )
