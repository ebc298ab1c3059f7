"""
Rows of a file (JSON, JSON lines, CSV, parquet) or of a set on the hub, one at a time, each with its place for the
account of what was skipped; and the records that a function makes of them.
"""

import csv
import logging

from readers import json_rows
from readers.source import UNREADABLE, open_sources
from runtime.errors import InputError


def hub_splits(name, where_else, config=None):
    """
    The splits of the hub's set `name`, or of its part `config`, each an iterable of rows. Raises InputError that says
    what else would do.
    """
    import datasets

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries; what came of them is said below
    try:
        return list(datasets.load_dataset(name, *([config] if config else [])).values())
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise InputError(f"{name}: cannot be loaded from the hub ({reason}); {where_else}") from None


MISFIT = (
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    ValueError,
)  # what a row of another layout raises when taken apart
ELSEWHERE = "a copy on this machine would do: --source=FILE_OR_FOLDER (JSON, JSON lines, CSV or parquet)"


def local_or_hub_rows(settings, hub_id, skipped, read=None, config=None):
    """(place, row) of what --source names, each file as `read` reads it (default: `rows`), else of the hub's set."""
    if settings.source:
        for source in open_sources(settings):
            yield from (read or file_rows)(source, skipped)
    else:
        for split in hub_splits(hub_id, ELSEWHERE, config):
            yield from ((f"{hub_id}, row {at}", row) for at, row in enumerate(split, 1))


def records_of_rows(pairs, of_row, wanted, skipped):
    """The records that of_row(row, place, skipped) makes of (place, row) pairs; a row not as `wanted` is broken."""
    for place, row in pairs:
        try:
            made = list(of_row(row, place, skipped))
        except MISFIT:
            skipped.broken(place, f"wanted {wanted}")
            continue
        yield from made


def file_rows(source, skipped):
    """Yield (place, row) of a file, whose layout is seen from its content."""
    head = source.head.lstrip()
    if head.startswith("PAR1"):
        return parquet_rows(source, skipped)
    return json_rows.read_json_rows(source, skipped) if head[:1] in ("{", "[") else csv_rows(source, skipped)


def csv_rows(source, skipped):
    """The rows of a CSV file with a header, as dicts; a field may hold line ends."""
    csv.field_size_limit(1 << 24)
    table = csv.DictReader((line + "\n" for _, line in source.lines()), strict=True)
    while True:
        try:
            row = next(table, None)
        except csv.Error as error:
            skipped.broken(f"{source.name}:{table.line_num}", f"not CSV ({error})")
            return  # where the quotes are wrong, every later field would be
        if row is None:
            return
        yield f"{source.name}:{table.line_num}", row


def parquet_rows(source, skipped):
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
