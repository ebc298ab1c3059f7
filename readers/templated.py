"""
Conversations that a chat template has made one text of, in the column `text` of rows or as a text file:

    ### Human: hi### Assistant: hello                  <|im_start|>user\\nhi<|im_end|>\\n<|im_start|>assistant ...
    \\n\\nHuman: hi\\n\\nAssistant: hello              <|user|>hi</s><|assistant|>hello</s>
    <s>[INST] <<SYS>>be kind<</SYS>> hi [/INST] hello </s>
"""

import io
import re
from collections.abc import Iterator
from typing import Any

from readers import json_rows, rows
from readers.conversations import Turn, talk_record
from readers.source import Record, Skipped, Source
from readers.turn_lists import ROLES

NAME = "texts of a chat template (### Human:, ChatML, [INST])"
WANTED = '{"text": "### Human: hi### Assistant: hello"}'
COLUMNS = ("text", "chat", "conversation", "prompt", "content")
WHO = r"human|user|assistant|bot|ai|gpt|model|system|prompter"
TEMPLATES = [  # of each: a tag with the role in it, from which a turn goes to the next tag
    re.compile(r"<\|im_start\|>[ \t]*(\w+)\n?"),
    re.compile(r"<\|start_header_id\|>[ \t]*(\w+)[ \t]*<\|end_header_id\|>\s*"),
    re.compile(r"<start_of_turn>[ \t]*(\w+)\n?"),
    re.compile(rf"<\|({WHO}|prompter|end)\|>\s?", re.I),
    re.compile(
        r"###[ \t]*(human|user|instruction|input|assistant|response|output|system|question|answer)[ \t]*:?\s?", re.I
    ),
    re.compile(rf"(?:^|\n\n)({WHO})[ \t]*:\s?", re.I),
]
WORDS = {"instruction": "user", "input": "user", "question": "user", "response": "assistant", "output": "assistant"}
WORDS |= {"answer": "assistant", **ROLES}
LLAMA = re.compile(r"\[INST\](.*?)\[/INST\](.*?)(?=<s>|\[INST\]|$)", re.DOTALL)
SYSTEM = re.compile(r"<<SYS>>(.*?)<</SYS>>", re.DOTALL)
ENDS = re.compile(r"<\|im_end\|>|<\|eot_id\|>|<end_of_turn>|<\|end\|>|<\|endoftext\|>|</?s>|<\|begin_of_text\|>")


def recognises(head: str) -> bool:
    """A column of rows, or a text file, that is a conversation in a template; two people's lines are tagged.py's."""
    if head.lstrip()[:1] in ("{", "["):
        return bool(column_of(first_row(head)))
    start = head.lstrip()
    return any(template.match(start) for template in TEMPLATES[:5]) and is_talk(turns_in(head))


def first_row(head: str) -> Any:
    """The first row of the head of a JSON file, an object; None where there is none."""
    source = Source("head", lambda: io.BytesIO(head.encode("utf-8", "replace")))
    return next((row for _, row in json_rows.read_json_rows(source, Skipped(keep_going=True))), None)


def column_of(row: Any) -> str | None:
    """The column of a row that is a conversation in a template."""
    if not isinstance(row, dict):
        return None
    return next((name for name in COLUMNS if isinstance(row.get(name), str) and is_talk(turns_in(row[name]))), None)


def is_talk(turns: list[Turn]) -> bool:
    return {"user", "assistant"} <= {turn[0] for turn in turns}


def turns_in(text: str) -> list[Turn]:
    """The turns of a text in a template; none if it is in none."""
    if "[INST]" in text:
        turns: list[Turn] = []
        for question, answer in LLAMA.findall(text):
            system = SYSTEM.search(question)
            turns += [("system", system[1])] if system else []
            turns += [("user", SYSTEM.sub("", question)), ("assistant", ENDS.sub("", answer))]
        return turns
    for template in TEMPLATES:
        tags = list(template.finditer(text))
        if tags and not text[: tags[0].start()].strip("\n <s>"):
            break
    else:
        return []
    ends = [*(tag.start() for tag in tags[1:]), len(text)]
    return [
        (WORDS[tag[1].lower()], ENDS.sub("", text[tag.end() : end]).strip())
        for tag, end in zip(tags, ends, strict=True)
        if tag[1].lower() in WORDS
    ]


def records(source: Source, skipped: Skipped) -> Iterator[Record]:
    if source.head.lstrip()[:1] in ("{", "["):
        yield from rows.records_of_rows(json_rows.read_json_rows(source, skipped), records_of_row, WANTED, skipped)
        return
    for place, text in texts(source, skipped):
        yield from talk_record(turns_in(text), place, skipped)


def records_of_row(row: Any, place: str, skipped: Skipped) -> Iterator[Record]:
    name = column_of(row)
    if name is None:
        skipped.note("row without a conversation", place)
    else:
        yield from talk_record(turns_in(row[name]), place, skipped)


def texts(source: Source, skipped: Skipped) -> Iterator[tuple[str, str]]:
    """Yield (place, text) of the conversations of a text file: they end at two blank lines or at <|endoftext|>."""
    lines: list[str] = []
    start, blank = 1, 0
    for number, line in source.lines(skipped):
        blank = blank + 1 if not line.strip() else 0
        if lines and (blank > 1 or line.strip() in ("<|endoftext|>", "---")):
            yield f"{source.name}:{start}", "\n".join(lines)
            lines = []
        elif line.strip() or lines:
            start = start if lines else number
            lines.append(line)
    if lines:
        yield f"{source.name}:{start}", "\n".join(lines)
