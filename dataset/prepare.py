"""
Conversations in, the files of a data folder out: what every data/<name>/prepare.py calls.

The split into train and val is by how a conversation opens: the two views of a dialogue and duplicates stay on one
side, and more data move nobody. Near-duplicates that open differently are brought together as well.
"""

import array
import collections
import concurrent.futures
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import configurator
from dataset.dedup import (
    MIN_DISTINCTIVE,
    SKETCH_SIZE,
    digest,
    group_keys,
    hash64,
    is_validation,
    normalized,
    opening_key,
)
from dataset.folder import FORMAT
from readers.source import Skipped
from runtime import atomic
from runtime.errors import InputError
from tokenization import tokenizer as tokenizers
from tokenization.chat_format import as_terminal_text, check, render, turns

# licences under which data, and what is trained on them, may be passed on for any purpose
PERMISSIVE = ("MIT", "Apache-2.0", "BSD-3-Clause", "CC0-1.0", "CC BY 4.0", "CDLA-Sharing-1.0")
BATCH_SIZE = 64  # conversations that a process renders at a time
SERIAL_BATCHES = 12  # batches that one process renders sooner than a second one starts


@dataclass(frozen=True)
class PrepareConfig:
    """Turn conversations into the files that train.py reads."""

    source: tuple[str, ...] = ()  # local files or folders in place of the download: --source=A --source=B
    tokenizer: str = "gpt2"  # gpt2, train:8192 (learn that many tokens from these data), or a model folder
    out_dir: str | None = None  # where the files go; default: beside prepare.py
    limit: int | None = None  # take at most so many conversations
    show: int = 0  # print so many of them, what is learned in green
    val_share: float = 0.05  # share of conversations kept for validation
    seed: int = 1337  # of the split, and of what is drawn by chance

    def __post_init__(self):
        if not 0 <= self.val_share < 1:
            raise ValueError(f"val_share ({self.val_share}) must be from 0 to below 1")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit ({self.limit}) must be at least 1")
        if not all(self.source):
            raise ValueError("source is empty; it takes a file or a folder")


class Rendered(NamedTuple):
    """A conversation as it is written, and what its split and duplicates are told by."""

    ids: bytes  # uint16
    supervised: bytes  # uint8
    n_turns: int
    n_supervised: int
    key: int  # opening_key
    exact: bytes  # hash of who said what, whatever the persona: the same talk from two sources is one
    sketch: tuple[int, ...]  # the smallest hashes of its distinctive utterances
    split: str  # "train" or "val" where the record says so, else ""
    copies: int  # how often it stands in train: a mixture repeats small sources


def main(
    script: str, conversations: Callable[[PrepareConfig, Skipped], Iterable[Any]], about: Mapping[str, Any]
) -> None:
    """What the prepare.py at `script` does when it is run: the flags of PrepareConfig, then prepare_folder."""
    configurator.main(lambda settings: prepare_folder(settings, script, conversations, about), PrepareConfig)


def prepare_folder(settings, script, conversations, about, changed=None):
    """
    Write the data folder of the prepare.py at `script`.
    conversations: a function of (settings, skipped) that yields records; skipped is a readers.Skipped. A record's own
        "split" ("train" or "val") is kept, the others are dealt out; its "copies" (default 1) are written to train.
    about: {"name", "licence", "url"} of the source, printed and kept in meta.json.
    changed: applied to the text of each message (a function of a module, since other processes run it).
    """
    folder = Path(settings.out_dir or Path(script).parent)
    if folder.is_absolute() and folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    print(f"{about['name']}: licence {about['licence']}, {about['url']}")
    place = ", ".join(settings.source) or about["name"]
    skipped = Skipped(getattr(settings, "skip_errors", None))  # None: a script without that flag

    def records():
        skipped.clear()
        return itertools.islice(conversations(settings, skipped), settings.limit)

    tokenizer = choose_tokenizer(settings.tokenizer, records, place, changed)
    if tokenizer.n_vocab > 2**16:
        raise InputError(f"--tokenizer={settings.tokenizer} has {tokenizer.n_vocab} tokens, uint16 holds 65536")
    with atomic.folder(folder) as new:
        rows = write_spool(new, render_records(records(), tokenizer, place, changed), tokenizer, settings, skipped)
        for line in skipped.report():
            print(line)
        if not len(rows.lengths):
            raise InputError(f"{place}: no conversation in it; nothing was written")
        splits = write_splits(new, rows, settings)
        total = sum((collections.Counter(counts) for counts in splits.values()), collections.Counter())
        total["longest"] = max(counts["longest"] for counts in splits.values())
        files = [Path(source).name for source in settings.source]
        meta = {
            "format": FORMAT,
            "tokenizer": {"name": tokenizer.name, "hash": tokenizer.hash},
            "splits": splits,
            "split_seed": settings.seed,
            "val_share": settings.val_share,
            "own_split": bool((rows.splits != "").any()),
            "skipped": dict(skipped),
            "sources": about.get("sources") or [{**about, "files": files, **total}],
        }
        meta["permissive"] = all(source["licence"] in PERMISSIVE for source in meta["sources"])
        text = json.dumps(tokenizer.to_json(), ensure_ascii=False)
        (new / "tokenizer.json").write_text(text, encoding="utf-8")
        (new / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    print(f"{total['conversations']:,} conversations ({splits['val']['conversations']:,} of them val)", end=", ")
    print(f"{total['turns']:,} turns, {total['tokens']:,} tokens", end=", ")
    print(f"{total['supervised'] / total['tokens']:.0%} supervised, longest {total['longest']:,} tokens")
    print(f"wrote {folder} (tokenizer {tokenizer.name}); train: python train.py config/FILE.py --data_dir={folder}")


def choose_tokenizer(name, records, place, changed):
    """The tokenizer that --tokenizer=`name` asks for; `train:N` learns it from the texts of `records()`."""
    kind, _, size = name.partition(":")
    if kind != "train":
        return tokenizers.load(name)
    if not (size.isdecimal() and len(size) < 10):
        raise InputError(f"--tokenizer={name}: write train:8192, the number of tokens")
    checked = (messages for batch in batches(records(), place) for messages in check_batch(batch, changed))
    texts = (" " + text for messages in checked for _, text in turns(messages))
    bar = tqdm(texts, desc="learning tokens", unit=" turns", disable=not sys.stderr.isatty())
    return tokenizers.train(bar, int(size))


def batches(records, place):
    """Lists of (where, record)."""
    numbered = ((f"{place}, conversation {i}", record) for i, record in enumerate(records, 1))
    while batch := list(itertools.islice(numbered, BATCH_SIZE)):
        yield batch


def check_batch(batch, changed):
    """Yield the messages of each (where, record)."""
    for where, record in batch:
        messages = check(record, where)
        if changed:
            messages = [{**message, "content": changed(message["content"])} for message in messages]
        yield messages


def render_records(records, tokenizer, place, changed):
    """Yield a Rendered for each record, in order; where there are many, other processes do the work."""
    work = batches(records, place)
    for batch in itertools.islice(work, SERIAL_BATCHES):
        yield from render_batch(batch, tokenizer, changed)
    first = next(work, None)
    if first is None:
        return
    workers = os.cpu_count() or 1
    waiting = collections.deque()
    with concurrent.futures.ProcessPoolExecutor(workers, initializer=set_worker, initargs=(tokenizer, changed)) as pool:
        try:
            for batch in itertools.chain([first], work):
                waiting.append(pool.submit(render_in_worker, batch))
                if len(waiting) > 2 * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


WORKER = {}  # a worker process's tokenizer: sent once, not with each batch


def set_worker(tokenizer, changed):
    WORKER["tokenizer"], WORKER["changed"] = tokenizer, changed


def render_in_worker(batch):
    return render_batch(batch, WORKER["tokenizer"], WORKER["changed"])


def render_batch(batch, tokenizer, changed):
    """[Rendered] of a list of (where, record). Raises InputError."""
    done = []
    for (_, record), messages in zip(batch, check_batch(batch, changed), strict=True):
        ids, supervised = render(messages, tokenizer)
        talk = [message["content"] for message in messages if message["role"] != "system"]
        long = {normalized(text) for text in talk if len(text) >= MIN_DISTINCTIVE}
        sketch = sorted(hash64(text) for text in long if len(text) >= MIN_DISTINCTIVE)[:SKETCH_SIZE]
        who = "".join(message["role"][0] for message in messages if message["role"] != "system")
        one = Rendered(
            ids=array.array("H", ids).tobytes(),
            supervised=bytes(supervised),
            n_turns=ids.count(tokenizer.end_of_turn),
            n_supervised=sum(supervised),
            key=opening_key(messages),
            exact=digest(who + normalized("\n".join(talk)), 12),
            sketch=() if "split" in record else tuple(sketch),
            split=record.get("split", ""),
            copies=record.get("copies", 1),
        )
        done.append(one)
    return done


class Spool(NamedTuple):
    """What is known of the conversations in spool.bin and spool.sup, in order."""

    lengths: np.ndarray
    n_turns: np.ndarray
    n_supervised: np.ndarray
    keys: np.ndarray
    sketches: np.ndarray  # (n, SKETCH), 0 where there are fewer
    splits: np.ndarray  # (n,) "train", "val" or ""
    copies: np.ndarray


def write_spool(folder, conversations, tokenizer, settings, skipped):
    """Write all conversations behind one another, each once, and show the first; the split comes when all are known."""
    seen, numbers, sketches, splits = set(), array.array("q"), array.array("Q"), []
    with open(folder / "spool.bin", "wb") as ids, open(folder / "spool.sup", "wb") as supervised:
        for i, one in enumerate(tqdm(conversations, unit=" conversations", disable=not sys.stderr.isatty())):
            if one.exact in seen:
                skipped.note("said word for word before", f"conversation {i + 1}")
                continue
            seen.add(one.exact)
            if len(seen) <= settings.show:
                learned = one.supervised if sys.stdout.isatty() else bytes(len(one.supervised))
                text = as_terminal_text(np.frombuffer(one.ids, np.uint16).tolist(), learned, tokenizer)
                print(("\n" if len(seen) > 1 else "") + text, end="")
            ids.write(one.ids)
            supervised.write(one.supervised)
            numbers.extend((len(one.supervised), one.n_turns, one.n_supervised, one.copies))
            splits.append(one.split)
            sketches.extend((one.key, *one.sketch, *[0] * (SKETCH_SIZE - len(one.sketch))))
    counts = np.array(numbers, dtype=np.int64).reshape(-1, 4)
    hashes = np.array(sketches, dtype=np.uint64).reshape(-1, 1 + SKETCH_SIZE)
    return Spool(*counts.T[:3], hashes[:, 0], hashes[:, 1:], np.array(splits, dtype="U5"), counts[:, 3])


def write_splits(folder, rows, settings):
    """Deal the spooled conversations out to train and val. Returns the counts of each, for meta.json."""
    val = np.where(rows.splits == "", is_validation(group_keys(rows), settings), rows.splits == "val")
    if val.all():
        less = f"a smaller --val_share than {settings.val_share}"
        raise InputError(f"all conversations fell to val; more of them, or {less}")
    for name, size in (("bin", 2), ("sup", 1)):
        with open(folder / f"spool.{name}", "rb") as spooled:
            with open(folder / f"train.{name}", "wb") as train, open(folder / f"val.{name}", "wb") as held_out:
                for to_val, length, copies in zip(val, rows.lengths.tolist(), rows.copies.tolist(), strict=True):
                    conversation = spooled.read(length * size)
                    if to_val:
                        held_out.write(conversation)
                    else:
                        train.write(conversation * copies)
        (folder / f"spool.{name}").unlink()
    counts = {}
    for name, times in (("train", ~val * rows.copies), ("val", val.astype(np.int64))):
        counts[name] = {
            "longest": int(rows.lengths[times > 0].max(initial=0)),
            "conversations": int(times.sum()),
            "turns": int(rows.n_turns @ times),
            "tokens": int(rows.lengths @ times),
            "supervised": int(rows.n_supervised @ times),
        }
    return counts
