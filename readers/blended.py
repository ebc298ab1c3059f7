"""
Blended Skill Talk: people who show personality, knowledge and empathy in one talk. Rows of the hub

    {"personas": [two sentences on the guided one], "previous_utterance": [free, guided], "free_messages": [...],
     "guided_messages": [...]}

or of the original JSON, {"personas": [[free's], [guided's]], "free_turker_utterance", "guided_turker_utterance",
"dialog": [[0, "..."], [1, "..."]]}.
"""

import itertools

from readers import detokenize
from readers.conversations import alternating, two_views

WANTED = "personas, previous_utterance, free_messages and guided_messages"


def of_row(row, place, skipped):
    if "dialog" in row:
        said = [(0, row["free_turker_utterance"]), (1, row["guided_turker_utterance"])]
        said += [(speaker, text) for speaker, text in row["dialog"]]
        personas = dict(enumerate(row["personas"]))
    else:
        said = alternating(row["previous_utterance"])
        turns = itertools.zip_longest(row["free_messages"], row["guided_messages"], fillvalue="")
        said += alternating(text for turn in turns for text in turn)
        personas = {1: row["personas"]}
    personas = {speaker: detokenize.detokenize(" ".join(lines)) for speaker, lines in personas.items()}
    return two_views([(speaker, detokenize.as_typed(text)) for speaker, text in said], personas, place, skipped)
