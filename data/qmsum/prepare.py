"""
QMSum (Zhong et al. 2021): meetings, and questions about parts of them with their answers. 232 meetings, about 1,500
questions; a part of a meeting is often longer than GPT-2's context, of which training sees what fits. Licence: MIT.
It is not on the hub: get data/ALL of https://github.com/Yale-LILY/QMSum

    $ python data/qmsum/prepare.py --source=FILE_OR_FOLDER

    {"meeting_transcripts": [{"speaker": "Project Manager", "content": "..."}, ...],
     "specific_query_list": [{"query": "...", "answer": "...", "relevant_text_span": [["0", "12"], ...]}],
     "general_query_list": [{"query": "Summarize the whole meeting.", "answer": "..."}]}
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dataset import prepare
from readers import detokenize, rows
from readers.source import Record, Skipped

ABOUT = {"name": "QMSum", "licence": "MIT", "url": "https://github.com/Yale-LILY/QMSum"}
WANTED = '{"meeting_transcripts": [{"speaker", "content"}], "specific_query_list": [{"query", "answer", ...}]}'
NOISE = re.compile(r"\{\w+\}")  # {vocalsound}, {disfmarker}


def conversations(settings: prepare.PrepareConfig, skipped: Skipped) -> Iterator[Record]:
    meetings = rows.local_rows(settings, skipped, advice=f"get data/ALL of {ABOUT['url']} and name it")
    return rows.records_of_rows(meetings, records_of_row, WANTED, skipped)


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    """A record for each question: the part of the meeting that it is about and the question, then the answer."""
    transcript = rows.required_list(row, "meeting_transcripts", dict)
    questions = rows.required_list(row, "specific_query_list", dict)
    general = rows.optional_list(row, "general_query_list", dict)
    if not questions and not general:
        skipped.note("meeting without a question", place)
    for _ in general:
        skipped.note("question about a whole meeting, which no context holds", place)
    for question in questions:
        query, answer = (rows.required(question, key, str).strip() for key in ("query", "answer"))
        turns = []
        for span in rows.required_list(question, "relevant_text_span", list):
            first, last = numbers(span)
            turns += transcript[first : last + 1]
        texts = [
            (rows.required(turn, "speaker", object), written(rows.required(turn, "content", str))) for turn in turns
        ]
        lines = [f"{speaker}: {text}" for speaker, text in texts if text]
        if not lines or not query or not answer:
            skipped.note("question without its part of the meeting, or without an answer", place)
            continue
        prompt = "\n".join(lines) + "\n\n" + written(query)
        messages = [("user", prompt), ("assistant", written(answer))]
        yield {"messages": [{"role": role, "content": text} for role, text in messages]}


def written(text: str) -> str:
    return detokenize.detokenize(NOISE.sub("", text))


def numbers(span: list[Any]) -> tuple[int, int]:
    """The first and last turn of a span, ["0", "12"]. Raises Misfit."""
    if len(span) != 2 or not all(str(end).isascii() and str(end).isdecimal() and len(str(end)) < 10 for end in span):
        raise rows.Misfit("a span is two numbers")
    return int(span[0]), int(span[1])


if __name__ == "__main__":
    prepare.main(__file__, conversations, ABOUT)
