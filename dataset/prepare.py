"""
Conversations in, the files of a data folder out: what every data/<name>/prepare.py calls.

A hash of a conversation's opening decides whether it goes to train or val. So the two views of a dialogue and its
duplicates are on the same side, and a conversation stays where it is when data are added. Near-duplicates that open
differently are kept together as well.
"""

import array
import collections
import itertools
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import configurator
from dataset.dedup import SKETCH_SIZE, group_keys, is_validation
from dataset.folder import FORMAT, SPLITS
from dataset.rendering import (
    Record,
    RenderedConversation,
    TextChange,
    batches,
    check_record,
    render_records,
    texts_of,
)
from readers.source import Skipped
from runtime import atomic
from runtime.errors import InputError
from tokenization import tokenizer as tokenizers
from tokenization.chat_format import as_terminal_text
from tokenization.tokenizer import Tokenizer

# licences under which data, and what is trained on them, may be passed on for any purpose
PERMISSIVE = ("public domain", "MIT", "Apache-2.0", "BSD-3-Clause", "CC0-1.0", "CC BY 4.0", "CDLA-Sharing-1.0")

QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")  # in a reason: a piece of a file


@dataclass(frozen=True)
class PrepareConfig:
    """Turn conversations into the files that train.py reads."""

    source: tuple[str, ...] = ()  # local files or folders in place of the download: --source=A --source=B
    tokenizer: str = "gpt2"  # gpt2, train:8192 (learn that many tokens from these data), or a model folder or name
    out_dir: str | None = None  # where the files go; default: beside prepare.py
    limit: int | None = None  # take at most so many conversations
    show: int = 0  # print so many of them, what is learned in green
    val_share: float = 0.05  # share of conversations kept for validation
    seed: int = 1337  # of the split, and of what is drawn by chance

    def __post_init__(self) -> None:
        if not 0 <= self.val_share < 1:
            raise ValueError(f"val_share ({self.val_share}) must be from 0 to below 1")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit ({self.limit}) must be at least 1")
        if self.out_dir is not None and not self.out_dir.strip():
            raise ValueError("out_dir is empty; it takes a folder")
        if not all(source.strip() for source in self.source):
            raise ValueError("source is empty; it takes a file or a folder")


def main(
    script: str, conversations: Callable[[PrepareConfig, Skipped], Iterable[Any]], about: Mapping[str, Any]
) -> None:
    """What the prepare.py at `script` does when it is run: the flags of PrepareConfig, then prepare_folder."""
    configurator.main(lambda settings: prepare_folder(settings, script, conversations, about), PrepareConfig)


def prepare_folder(
    settings: Any,
    script: str | Path,
    conversations: Callable[[Any, Skipped], Iterable[Any]],
    about: Mapping[str, Any],
    change_text: TextChange | None = None,
) -> None:
    """
    Write the data folder of the prepare.py at `script`, and print what is in it.
    settings: a PrepareConfig, which may have more fields for `conversations`.
    conversations: a function of (settings, skipped) that yields records, each {"messages": [...]}, or {"text": "..."}
        for a document of which all is learned, or {"ids": [...], "supervised": [...]}. A record may have a "split"
        ("train" or "val"), else its opening decides, and "copies", how often it is written to train (once).
        It is called once more if a tokenizer is to be learned.
    about: {"name", "licence", "url"} of the source, printed and kept in meta.json. "sources", if it is there, is a list
        of these and is kept instead.
    change_text: applied to the text of each message, as its private details are to be masked: then meta.json also
        names no file and quotes nothing. It must be a function of a module: other processes run it.
    Raises InputError, and leaves the folder as it was, if there is no conversation or something is wrong with one.
    """
    folder = Path(settings.out_dir or Path(script).parent)
    if folder.is_absolute() and folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    print(f"{about['name']}: licence {about['licence']}, {about['url']}")
    place = ", ".join(settings.source) or about["name"]
    skipped = Skipped(getattr(settings, "skip_errors", None))  # None: a script without that flag

    def records() -> Iterator[Record]:
        skipped.clear()
        return itertools.islice(conversations(settings, skipped), settings.limit)

    tokenizer = choose_tokenizer(settings.tokenizer, records, place, change_text)
    if tokenizer.n_vocab > 2**16:
        raise InputError(f"--tokenizer={settings.tokenizer} has {tokenizer.n_vocab} tokens, uint16 holds 65536")
    with atomic.folder(folder) as new:
        rendered = render_records(records(), tokenizer, place, change_text)
        spool = write_spool(new, rendered, tokenizer, settings.show, skipped)
        for line in skipped.report():
            print(line)
        if not len(spool.lengths):
            raise InputError(f"{place}: no conversation in it; nothing was written")
        splits = write_splits(new, spool, settings.val_share, settings.seed)
        total = {name: sum(splits[split][name] for split in SPLITS) for name in splits["train"]}
        total["longest"] = max(splits[split]["longest"] for split in SPLITS)
        files = [Path(source).name for source in settings.source]
        if change_text:  # a file has the name of a friend, or a number: WhatsApp Chat with +49 170 1234567.txt
            files = [f"file {number}" for number, _ in enumerate(files, 1)]
        meta = {
            "format": FORMAT,
            "tokenizer": {"name": tokenizer.name, "hash": tokenizer.hash},
            "splits": splits,
            "split_seed": settings.seed,
            "val_share": settings.val_share,
            "own_split": bool((spool.splits != "").any()),
            "skipped": dict(stored_reasons(skipped, change_text)),
            "sources": about.get("sources") or [{**about, "files": files, **total}],
        }
        meta["permissive"] = all(source["licence"] in PERMISSIVE for source in meta["sources"])
        text = json.dumps(tokenizer.to_json(), ensure_ascii=False)
        (new / "tokenizer.json").write_text(text, encoding="utf-8")
        (new / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    print(f"{total['conversations']:,} conversations ({splits['val']['conversations']:,} of them val)", end=", ")
    print(f"{total['turns']:,} turns, {total['tokens']:,} tokens", end=", ")
    print(f"{total['supervised'] / total['tokens']:.0%} supervised, longest {total['longest']:,} tokens", end="")
    print(f", {total['pairs']:,} pairs of a better and a worse answer" if total.get("pairs") else "")
    flag = shlex.quote(f"--data_dir={folder}")
    print(f"wrote {folder} (tokenizer {tokenizer.name}); train: python train.py config/FILE.py {flag}")


def stored_reasons(skipped: Skipped, change_text: TextChange | None) -> collections.Counter[str]:
    """The counts of what was skipped as meta.json has them; change_text: what a reason quotes or holds is hidden."""
    counts: collections.Counter[str] = collections.Counter()
    for reason, n in skipped.items():
        counts[change_text(QUOTED.sub("'...'", reason)) if change_text else reason] += n
    return counts


def choose_tokenizer(
    name: str, records: Callable[[], Iterable[Record]], place: str, change_text: TextChange | None
) -> Tokenizer:
    """
    The tokenizer that --tokenizer=`name` asks for; `train:8192` learns one of 8,192 tokens from the texts of
    `records()`. Raises InputError.
    """
    kind, _, size = name.partition(":")
    if kind != "train":
        return tokenizers.load(name)
    if not (size.isdecimal() and len(size) < 10):
        raise InputError(f"--tokenizer={name}: write train:8192, the number of tokens")
    checked = (check_record(at, record, change_text) for batch in batches(records(), place) for at, record in batch)
    texts = itertools.chain.from_iterable(map(texts_of, checked))
    bar = tqdm(texts, desc="learning tokens", unit=" turns", disable=not sys.stderr.isatty())
    return tokenizers.train(bar, int(size))


class Spool(NamedTuple):
    """What is known of the n conversations in spool.bin and spool.sup, in their order."""

    lengths: np.ndarray  # (n,) int64: tokens
    n_turns: np.ndarray  # (n,) int64
    n_supervised: np.ndarray  # (n,) int64: tokens
    keys: np.ndarray  # (n,) uint64
    sketches: np.ndarray  # (n, SKETCH_SIZE) uint64, 0 where there are fewer
    splits: np.ndarray  # (n,) "train", "val" or ""
    copies: np.ndarray  # (n,) int64
    pairs: dict[int, list[str]]  # number of a conversation -> JSON of each pair of its last answer and a worse one


def write_spool(
    folder: Path, conversations: Iterable[RenderedConversation], tokenizer: Tokenizer, show: int, skipped: Skipped
) -> Spool:
    """
    Write all conversations, each once, behind one another into spool.bin and spool.sup: train and val can be dealt out
    only when all are known. Prints the first `show` of them.
    """
    seen: dict[bytes, int] = {}  # what was said -> its number
    numbers, hashes, splits = array.array("q"), array.array("Q"), []
    pairs: dict[int, list[str]] = {}
    with open(folder / "spool.bin", "wb") as bin_file, open(folder / "spool.sup", "wb") as sup_file:
        for i, rendered in enumerate(tqdm(conversations, unit=" conversations", disable=not sys.stderr.isatty())):
            number = seen.setdefault(rendered.exact, len(seen))
            if rendered.pair and rendered.pair not in pairs.setdefault(number, []):
                pairs[number].append(rendered.pair)
            elif number < len(splits):
                skipped.note("said word for word before", f"conversation {i + 1}")
            if number < len(splits):
                continue
            if len(seen) <= show:
                green = rendered.supervised if sys.stdout.isatty() else bytes(len(rendered.supervised))
                text = as_terminal_text(np.frombuffer(rendered.ids, np.uint16).tolist(), green, tokenizer)
                print(("\n" if len(seen) > 1 else "") + text, end="")
            bin_file.write(rendered.ids)
            sup_file.write(rendered.supervised)
            numbers.extend((len(rendered.supervised), rendered.n_turns, rendered.n_supervised, rendered.copies))
            splits.append(rendered.split)
            hashes.extend((rendered.key, *rendered.sketch, *[0] * (SKETCH_SIZE - len(rendered.sketch))))
    lengths, n_turns, n_supervised, copies = np.array(numbers, dtype=np.int64).reshape(-1, 4).T
    keys_and_sketches = np.array(hashes, dtype=np.uint64).reshape(-1, 1 + SKETCH_SIZE)
    return Spool(
        lengths=lengths,
        n_turns=n_turns,
        n_supervised=n_supervised,
        keys=keys_and_sketches[:, 0],
        sketches=keys_and_sketches[:, 1:],
        splits=np.array(splits, dtype="U5"),
        copies=copies,
        pairs=pairs,
    )


def write_splits(folder: Path, spool: Spool, val_share: float, seed: int) -> dict[str, dict[str, int]]:
    """
    Deal the spooled conversations out to the files of train and val, and remove the spool. Returns the counts of each
    split, for meta.json. Raises InputError if nothing is left for train.
    """
    dealt_to_val = is_validation(group_keys(spool.keys, spool.sketches), val_share, seed)
    is_val = np.where(spool.splits == "", dealt_to_val, spool.splits == "val")
    if is_val.all():
        less = f"a smaller --val_share than {val_share}"
        raise InputError(f"all conversations fell to val; more of them, or {less}")
    for suffix, item_bytes in (("bin", 2), ("sup", 1)):
        with open(folder / f"spool.{suffix}", "rb") as spooled:
            with open(folder / f"train.{suffix}", "wb") as train, open(folder / f"val.{suffix}", "wb") as val:
                for to_val, length, copies in zip(is_val, spool.lengths.tolist(), spool.copies.tolist(), strict=True):
                    conversation = spooled.read(length * item_bytes)
                    if to_val:
                        val.write(conversation)
                    else:
                        train.write(conversation * copies)
        (folder / f"spool.{suffix}").unlink()
    n_pairs: dict[str, int] = {}
    for split, wanted in (("train", False), ("val", True)):
        lines = [f"{pair}\n" for number, pairs in spool.pairs.items() if is_val[number] == wanted for pair in pairs]
        n_pairs[split] = len(lines)
        if spool.pairs or (folder.parent / f"{split}.pairs.jsonl").exists():  # dataset/pairs.py reads them
            (folder / f"{split}.pairs.jsonl").write_text("".join(lines), encoding="utf-8")
    counts = {}
    for split, times in (("train", ~is_val * spool.copies), ("val", is_val.astype(np.int64))):
        counts[split] = {
            "longest": int(spool.lengths[times > 0].max(initial=0)),
            "conversations": int(times.sum()),
            "turns": int(spool.n_turns @ times),
            "tokens": int(spool.lengths @ times),
            "supervised": int(spool.n_supervised @ times),
        }
        if spool.pairs:
            counts[split]["pairs"] = n_pairs[split]
    return counts
