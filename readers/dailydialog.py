"""
DailyDialog: a dialogue a line, `Hi , Tom . __eou__ Hi ! __eou__`, or the hub's rows, {"dialog": ["Hi , Tom .", ...]}.
"""

from readers import prose, rows, talk

END = "__eou__"  # of an utterance
WANTED = '{"dialog": ["...", "..."]}'


def dialogues(source, skipped):
    """(place, row) of the original files' lines; the files of acts and emotions beside them are left out."""
    if END not in source.head:
        if source.head.lstrip()[:1] in ("{", "[", "P"):
            yield from rows.rows(source, skipped)
        else:
            skipped.note("file without dialogues", source.name)
        return
    for number, line in source.lines():
        if line.strip():
            yield f"{source.name}:{number}", {"dialog": line.strip().removesuffix(END).split(END)}


def of_row(row, place, skipped):
    said = [prose.tokenised(text) for text in row.get("dialog") or row["utterances"]]
    return talk.views(talk.alternating(said), {}, place, skipped)
