"""
DailyDialog: a dialogue a line, `Hi , Tom . __eou__ Hi ! __eou__`, or the hub's rows, {"dialog": ["Hi , Tom .", ...]}.
"""

from readers import detokenize, rows
from readers.conversations import alternating, two_views

END = "__eou__"  # of an utterance
WANTED = '{"dialog": ["...", "..."]}'


def dialogues(source, skipped):
    """(place, row) of the original files' lines; the files of acts and emotions beside them are left out."""
    if END not in source.head:
        if source.head.lstrip()[:1] in ("{", "[", "P"):
            yield from rows.file_rows(source, skipped)
        else:
            skipped.note("file without dialogues", source.name)
        return
    for number, line in source.lines():
        if line.strip():
            yield f"{source.name}:{number}", {"dialog": line.strip().removesuffix(END).split(END)}


def of_row(row, place, skipped):
    said = [detokenize.detokenize(text) for text in row.get("dialog") or row["utterances"]]
    return two_views(alternating(said), {}, place, skipped)
