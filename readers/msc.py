"""
Multi-Session Chat: two people who know each other's words from earlier days. A row is one session; the sessions of two
people are one conversation here, up to five sessions long, with the persona of the first for the system message.

    the original      session_N/train.txt, lines {"dialog": [{"id", "text"}], "initial_data_id", "init_personachat"}
    ParlAI's archive  the same with "personas", "previous_dialogs" and "metadata"
    the hub           {"dialoug_id" [sic], "session_id", "persona1", "persona2", "dialogue", "speaker"}
"""

from readers import detokenize, rows
from readers.conversations import two_views

WANTED = "dialog, initial_data_id and personas, or dialoug_id, dialogue, speaker and personas"


def conversations(pairs, skipped):
    """(place, {"said", "personas"}) of session rows; all are held, for the sessions of two stand in several files."""
    found = {}
    for place, row in pairs:
        try:
            key, personas, earlier, said = session(row, place)
            talked = found.setdefault(key, (place, {"said": [], "personas": personas}))[1]
        except rows.MISFIT:
            skipped.broken(place, f"wanted {WANTED}")
            continue
        if earlier and talked["said"]:
            # ParlAI's files of later sessions hold the earlier ones too: what is new is the last
            talked["said"] = max(talked["said"], earlier, key=len)
        talked["said"] = (talked["said"] or earlier) + said
    yield from found.values()


def session(row, place):
    """(who they are, their personas, what they said on earlier days if the row has it, what they said that day)"""
    if "dialoug_id" in row:
        where = place.rpartition(", row ")[0].rpartition(":")[0]  # ids begin anew in each split
        said = list(zip(row["speaker"], row["dialogue"], strict=True))
        return (where, row["dialoug_id"]), [row["persona1"], row["persona2"]], [], in_order(said)
    about = row.get("metadata") or row
    personas = row["init_personachat"]["init_personas"] if "init_personachat" in row else row["personas"]
    earlier = [
        (number % 2, turn["text"])
        for day in row.get("previous_dialogs") or []
        for number, turn in enumerate(day["dialog"])
    ]
    return about["initial_data_id"], personas, earlier, in_order([(turn["id"], turn["text"]) for turn in row["dialog"]])


def in_order(said):
    """The speakers as 0 and 1, by name: `bot_0` and `bot_1`, `Speaker 1` and `Speaker 2`."""
    names = sorted({speaker for speaker, _ in said})
    return [(names.index(speaker) % 2, text) for speaker, text in said]


def of_row(row, place, skipped):
    said = [(speaker, detokenize.as_typed(text)) for speaker, text in row["said"]]
    personas = {speaker: detokenize.as_typed(" ".join(lines)) for speaker, lines in enumerate(row["personas"][:2])}
    return two_views(said, personas, place, skipped)
