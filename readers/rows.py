"""
Rows of a file (JSON, JSON lines, CSV, parquet) or of a data set on the hub, one at a time, each with its place, which
messages and the account of what was skipped show; and the conversations that a reader makes of them.

A reader's records_of_row(row, place, skipped) takes a row apart with `required`, `optional` and `list_of`, which raise
Misfit where the row is not laid out as the reader expects. Any other exception is a bug of the reader, and is raised.
"""

import contextlib
import csv
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from readers import json_rows
from readers.archives import open_sources
from readers.source import UNREADABLE, Record, Skipped, Source, SourceSettings
from runtime.errors import InputError

T = TypeVar("T")
PlacedRow = tuple[str, Any]  # the place of a row ("chats.jsonl:17") and the row
RowReader = Callable[[Source, Skipped], Iterator[PlacedRow]]
ELSEWHERE = "a copy on this machine would do: --source=FILE_OR_FOLDER (JSON, JSON lines, CSV or parquet)"


class Misfit(Exception):
    """A row is not laid out as its reader expects: a key is missing, or a value is of another type."""


def required(row: Any, key: str, kind: type[T]) -> T:
    """The value of a key that must be there, a `kind`. Raises Misfit."""
    if not isinstance(row, dict) or key not in row or not isinstance(row[key], kind):
        raise Misfit(f"{key!r} is missing or is no {kind.__name__}")
    return row[key]


def optional(row: Any, key: str, kind: type[T]) -> T | None:
    """The value of a key, a `kind`; None where it is missing or empty. Raises Misfit."""
    return required(row, key, kind) if not isinstance(row, dict) or row.get(key) else None


def list_of(value: Any, kind: type[T]) -> list[T]:
    """The value, which must be a list of `kind`. Raises Misfit."""
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
        raise Misfit(f"not a list of {kind.__name__}")
    return value


def within(value: Any, *keys: str) -> Any:
    """What stands under these keys, one within another; None where one is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def listed(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def required_list(row: Any, key: str, kind: type[T]) -> list[T]:
    """The list of `kind` under a key that must be there. Raises Misfit."""
    return list_of(required(row, key, list), kind)


def optional_list(row: Any, key: str, kind: type[T]) -> list[T]:
    """The list of `kind` under a key; an empty one where it is missing. Raises Misfit."""
    return list_of(optional(row, key, list) or [], kind)


def records_of_rows(
    rows: Iterable[PlacedRow],
    records_of_row: Callable[[Any, str, Skipped], Iterable[Record]],
    wanted: str,
    skipped: Skipped,
) -> Iterator[Record]:
    """Yield the records that records_of_row(row, place, skipped) makes of rows; one that is a Misfit is broken."""
    for place, row in rows:
        try:
            records = list(records_of_row(row, place, skipped))
        except Misfit:
            skipped.broken(place, f"wanted {wanted}")
            continue
        yield from records


def file_rows(source: Source, skipped: Skipped) -> Iterator[PlacedRow]:
    """Yield the rows of a file, whose layout is known from its content."""
    head = source.head.lstrip()
    if head.startswith("PAR1"):
        return parquet_rows(source, skipped)
    return json_rows.read_json_rows(source, skipped) if head[:1] in ("{", "[") else csv_rows(source, skipped)


def csv_rows(source: Source, skipped: Skipped) -> Iterator[PlacedRow]:
    """Yield the rows of a CSV file with a header, as dicts; a field may hold line ends."""
    csv.field_size_limit(1 << 24)  # characters; the default, 131,072, is less than some dialogues
    table = csv.DictReader((line + "\n" for _, line in source.lines(skipped)), strict=True)
    while True:
        try:
            row = next(table, None)
        except csv.Error as error:
            skipped.broken(f"{source.name}:{table.line_num}", f"not CSV ({error})")
            return  # where the quotes are wrong, every later field would be
        if row is None:
            return
        yield f"{source.name}:{table.line_num}", row


def parquet_rows(source: Source, skipped: Skipped) -> Iterator[PlacedRow]:
    from pyarrow import ArrowException, parquet

    number = 0
    try:
        with source.open() as file:
            for batch in parquet.ParquetFile(file).iter_batches(1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{source.name}, row {number}", row
    except (ArrowException, *UNREADABLE) as error:
        reason = str(error).partition("\n")[0][:120]
        skipped.broken(f"{source.name}, row {number + 1}", f"damaged parquet ({reason})")


def local_rows(
    settings: SourceSettings, skipped: Skipped, advice: str, read: RowReader = file_rows
) -> Iterator[PlacedRow]:
    """Yield the rows of the files that --source names, as `read` reads each. InputError, `advice`, if it names none."""
    if not settings.source:
        raise InputError(f"{advice}: --source=FILE_OR_FOLDER")
    for source in open_sources(settings):
        yield from read(source, skipped)


def local_or_hub_rows(
    settings: SourceSettings, hub_id: str, skipped: Skipped, read: RowReader = file_rows, config: str | None = None
) -> Iterator[PlacedRow]:
    """Yield the rows of the files that --source names, as `read` reads each; if it names none, of the hub's set."""
    for part in local_or_hub_parts(settings, hub_id, skipped, read, config):
        yield from part


def local_or_hub_parts(
    settings: SourceSettings,
    hub_id: str,
    skipped: Skipped,
    read: RowReader = file_rows,
    config: str | None = None,
    advice: str = ELSEWHERE,
    streaming: bool = True,
) -> Iterator[Iterator[PlacedRow]]:
    """
    As local_or_hub_rows, but an iterator of rows for each file, or for each split of the hub's set. Raises InputError.
    config: the part of the data set.  advice: what to do where there is no hub.
    streaming: with --limit, download only as much as is read; of no use to a reader that needs all rows at once.
    """
    if settings.source:
        for source in open_sources(settings):
            yield read(source, skipped)
    else:
        for split in hub_splits(hub_id, advice, config, streaming and settings.limit is not None):
            yield ((f"{hub_id}, row {number}", row) for number, row in enumerate(split, 1))


def hub_splits(hub_id: str, advice: str, config: str | None = None, streaming: bool = False) -> list[Iterable[Any]]:
    """
    The splits of a data set on the hub, or of its part `config`, each an iterable of rows; streaming: of rows that are
    downloaded as they are read. Raises InputError that ends with `advice`.
    """
    import datasets
    from datasets.exceptions import DatasetsError

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries; the error below tells the outcome

    def failure(error: Exception) -> InputError:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        return InputError(f"{hub_id}: cannot be loaded from the hub ({reason}); {advice}")

    def streamed(rows: Iterable[Any]) -> Iterator[Any]:
        try:
            yield from rows
        except (OSError, ValueError, DatasetsError) as error:
            raise failure(error) from None

    if streaming:
        # offline it fails, though what was downloaded in whole on another day may still be on this machine
        with contextlib.suppress(OSError, ValueError, DatasetsError):
            return [streamed(rows) for rows in datasets.load_dataset(hub_id, config, streaming=True).values()]
    try:
        return list(datasets.load_dataset(hub_id, config).values())
    except (OSError, ValueError, DatasetsError) as error:
        raise failure(error) from None
