"""
Rows of a file (JSON, JSON lines, CSV, parquet) or of a set on the hub, one at a time, each with its place for the
account of what was skipped; and the records that a function makes of them.
"""

import csv

import readers
from readers import hub, json_rows

MISFIT = (
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    ValueError,
)  # what a row of another layout raises when taken apart
ELSEWHERE = "a copy on this machine would do: --source=FILE_OR_FOLDER (JSON, JSON lines, CSV or parquet)"


def found(settings, hub_id, skipped, read=None, config=None):
    """(place, row) of what --source names, each file as `read` reads it (default: `rows`), else of the hub's set."""
    if settings.source:
        for source in readers.opened(settings):
            yield from (read or rows)(source, skipped)
    else:
        for split in hub.splits(hub_id, ELSEWHERE, config):
            yield from ((f"{hub_id}, row {at}", row) for at, row in enumerate(split, 1))


def records(pairs, of_row, wanted, skipped):
    """The records that of_row(row, place, skipped) makes of (place, row) pairs; a row not as `wanted` is broken."""
    for place, row in pairs:
        try:
            made = list(of_row(row, place, skipped))
        except MISFIT:
            skipped.broken(place, f"wanted {wanted}")
            continue
        yield from made


def rows(source, skipped):
    """Yield (place, row) of a file, whose layout is seen from its content."""
    head = source.head.lstrip()
    if head.startswith("PAR1"):
        return of_parquet(source, skipped)
    return json_rows.rows(source, skipped) if head[:1] in ("{", "[") else of_csv(source, skipped)


def of_csv(source, skipped):
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


def of_parquet(source, skipped):
    from pyarrow import ArrowException, parquet

    number = 0
    try:
        with source.open() as file:
            for batch in parquet.ParquetFile(file).iter_batches(1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{source.name}, row {number}", row
    except (ArrowException, *readers.DAMAGED) as error:
        reason = str(error).partition("\n")[0][:120]
        skipped.broken(f"{source.name}, row {number + 1}", f"damaged parquet ({reason})")
