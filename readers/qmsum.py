"""
QMSum's meetings (Zhong et al. 2021): a transcript, and questions about parts of it with their answers.

    {"meeting_transcripts": [{"speaker": "Project Manager", "content": "..."}, ...],
     "specific_query_list": [{"query": "...", "answer": "...", "relevant_text_span": [["0", "12"], ...]}],
     "general_query_list": [{"query": "Summarize the whole meeting.", "answer": "..."}]}
"""

import re

from readers import detokenize

WANTED = '{"meeting_transcripts": [{"speaker", "content"}], "specific_query_list": [{"query", "answer", ...}]}'
NOISE = re.compile(r"\{\w+\}")  # {vocalsound}, {disfmarker}


def written(text):
    return detokenize.detokenize(NOISE.sub("", text))


def of_row(row, place, skipped):
    """A record for each question: the part of the meeting that it is about and the question, then the answer."""
    transcript = row["meeting_transcripts"]
    if not row["specific_query_list"] and not row.get("general_query_list"):
        skipped.note("meeting without a question", place)
    for _ in row.get("general_query_list", []):
        skipped.note("question about a whole meeting, which no context holds", place)
    for asked in row["specific_query_list"]:
        part = []
        for first, last in asked["relevant_text_span"]:
            part += transcript[int(first) : int(last) + 1]
        lines = [f"{turn['speaker']}: {written(turn['content'])}" for turn in part if written(turn["content"])]
        if not lines or not asked["query"].strip() or not asked["answer"].strip():
            skipped.note("question without its part of the meeting, or without an answer", place)
            continue
        question = "\n".join(lines) + "\n\n" + written(asked["query"])
        messages = [("user", question), ("assistant", written(asked["answer"]))]
        yield {"messages": [{"role": role, "content": text} for role, text in messages]}
