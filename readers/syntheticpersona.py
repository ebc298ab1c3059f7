"""
Synthetic-Persona-Chat: rows of two personas, a sentence a line, and the talk as lines "User 1: ...".
"""

import re

from readers import detokenize
from readers.conversations import two_views

TALK = "Best Generated Conversation"
WANTED = f"columns 'user 1 personas', 'user 2 personas' and '{TALK}'"
LINE = re.compile(r"[\s*]*(user [12])[\s*]*:\**", re.IGNORECASE)  # some are *User 1:*


def of_row(row, place, skipped):
    said = []
    for line in row[TALK].splitlines():
        start = LINE.match(line)
        if start:
            said.append([start[1].lower(), line[start.end() :]])
        elif line.strip() and said:
            said[-1][1] += " " + line
        elif line.strip():
            skipped.note("line before the first speaker", place)
    said = [(speaker, detokenize.as_typed(text)) for speaker, text in said]
    personas = {user: detokenize.as_typed(row[f"{user} personas"]) for user in ("user 1", "user 2")}
    return two_views(said, personas, place, skipped)
