"""
The Self-dialogue Corpus: JSON lines {"turns": [...]}, or the original's CSV, where a row has Answer.sentence1 to
Answer.sentence10 or more and a note in Reject where the work was turned down.
"""

from readers import detokenize
from readers.conversations import alternating, two_views

WANTED = '{"turns": [...]}, or columns Answer.sentence1, Answer.sentence2, ...'
SENTENCE = "Answer.sentence"
NOTHING = "{}"  # what the original has for an empty answer


def of_row(row, place, skipped):
    if "turns" in row:
        said = row["turns"]
    elif row.get("Reject"):
        skipped.note("turned down by those who collected it", place)
        return []
    else:
        row[f"{SENTENCE}1"]
        columns = sorted((name for name in row if str(name).startswith(SENTENCE)), key=lambda name: int(name[15:]))
        said = [row[name] for name in columns if row[name] != NOTHING]
    return two_views(alternating(detokenize.as_typed(text) for text in said), {}, place, skipped)
