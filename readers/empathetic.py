"""
EmpatheticDialogues: somebody tells what happened and how it felt, the other listens. The bot is the one who listens.
The original CSV has a row an utterance (conv_id, utterance_idx, utterance) and writes _comma_ for a comma; the hub has
a row a dialogue, {"conversations": [{"role": "user", "content": "..."}, ...]}.
"""

from readers import detokenize, openai, rows
from readers.conversations import talk_record

WANTED = "conversations, or conv_id, utterance_idx and utterance"
TELLER = {"1": "user", "0": "assistant"}  # the first utterance, the third, ... are the teller's


def utterances(source, skipped):
    """(place, row) of a file. In the files as first published a quote is a letter: only commas split a line."""
    if not source.head.startswith("conv_id,utterance_idx,context,"):
        yield from rows.file_rows(source, skipped)
        return
    columns = None
    for number, line in source.lines():
        fields = line.split(",")
        if columns is None:
            columns = fields
        elif line and len(fields) < len(columns) - 1:  # the last, tags, may be missing
            skipped.broken(f"{source.name}:{number}", f"wanted {len(columns)} fields, found {len(fields)}")
        elif line:
            yield f"{source.name}:{number}", dict(zip(columns, fields, strict=False))


def dialogues(pairs):
    """(place, [rows of a dialogue]) of rows that are an utterance each; rows that are a dialogue as they are."""
    dialogue, first = [], None
    for place, row in pairs:
        whole = not isinstance(row, dict) or "utterance" not in row
        if dialogue and (whole or row.get("conv_id") != dialogue[0].get("conv_id")):
            yield first, dialogue
            dialogue = []
        if whole:
            yield place, row
        else:
            first = first if dialogue else place
            dialogue.append(row)
    if dialogue:
        yield first, dialogue


def of_row(row, place, skipped):
    if isinstance(row, dict):
        for made in openai.of_row(row, place, skipped):
            yield {"messages": [{**message, "content": plain(message["content"])} for message in made["messages"]]}
        return
    said = [(TELLER[str(int(part["utterance_idx"]) % 2)], plain(part["utterance"])) for part in row]
    yield from talk_record(said, place, skipped)


def plain(text):
    return detokenize.as_typed(text.replace("_comma_", ", "))
