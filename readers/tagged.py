"""
Plain text in which a tag says who speaks. The first tag decides which of three styles a file has:

    [Human]: hi            Human: hi            <human>hi<endOfText>
    [Bot]: hello           Bot: hello           <bot>hello<endOfText>

Human may be User or You, Bot may be Assistant or AI, and System sets the scene. A line without a tag continues the
message before it. Between conversations stands a blank line, a line of dashes, <|endoftext|> or <endOfText>; if one of
these stands before nearly every tag, it ends messages instead. Where nothing separates conversations they are cut at
a human turn after TURNS turns.
"""

import re
from collections.abc import Iterable, Iterator

from readers.source import Record, Skipped, Source

NAME = "tagged text ([Human]: / [Bot]:, Human: / Bot:, <human> / <bot>)"
TURNS = 30  # turns after which a conversation is cut, in a file that has no line between its conversations
WHO = "human|user|you|bot|assistant|ai|system"
STYLES = [
    re.compile(rf"\s*{tag}[ \t]*(.*)", re.I | re.S)
    for tag in (rf"\[({WHO})\]:?", rf"<({WHO})>(?::(?=\s|$))?", rf"({WHO})[ \t]*:")  # "<human> :)" has no colon
]
ROLES = {"human": "user", "user": "user", "you": "user", "system": "system"}  # all others are the assistant
END = re.compile(r"<\|endoftext\|>|<endoftext>", re.I)
DASHES = re.compile(r"\s*[-\u2013\u2014]{3,}\s*")
GAPS = {"blank", "blanks", "dashes", "end"}  # what may stand between two messages: one blank line, several, ...


def recognises(head: str) -> bool:
    """Both sides are tagged, and either the text begins with a tag or every tenth line has one."""
    style, _, _ = layout(head)
    if style is None:
        return False
    lines = [line for line in END.sub("\n", head).split("\n") if line.strip() and not DASHES.fullmatch(line)]
    roles = [ROLES.get(match[1].lower(), "assistant") for match in map(style.match, lines) if match]
    return {"user", "assistant"} <= set(roles) and bool(style.match(lines[0]) or len(roles) * 10 >= len(lines))


def records(source: Source, skipped: Skipped) -> Iterator[Record]:
    """Yield records, cut where the file separates conversations, else after TURNS turns."""
    style, separators, is_bounded = layout(source.head)
    if style is None:
        skipped.broken(f"{source.name}:1", "no line begins with a tag such as Human: or Bot:")
        return
    talk: list[tuple[str, int, list[str]]] = []  # (role, line number, lines of text) of each message
    for line, role, text, gap in parts(source.lines(skipped), style):
        if role is None:
            if gap & separators & {"dashes", "end"}:
                yield from record_of(talk, source, skipped)
                talk = []
            if talk:
                talk[-1][2].extend(["", text] if "blank" in gap else [text])  # a new paragraph
            else:
                skipped.note("text before the first tag", f"{source.name}:{line}")
            continue
        is_new = gap & separators or (role == "system" and talk and talk[-1][0] != "system")
        if not is_new and not is_bounded and len(talk) >= TURNS and role == "user" and talk[-1][0] == "assistant":
            place = f"{source.name}:{line}"
            skipped.note(f"no line between conversations, cut after {TURNS} turns", place, kept=True)
            is_new = True
        if is_new:
            yield from record_of(talk, source, skipped)
            talk = []
        if role == "system" and talk:
            talk[-1][2].append(text)
        else:
            talk.append((role, line, [text]))
    yield from record_of(talk, source, skipped)


def record_of(talk: list[tuple[str, int, list[str]]], source: Source, skipped: Skipped) -> Iterator[Record]:
    """Yield the record of a conversation, or none where only one side speaks."""
    messages = []
    for role, line, texts in talk:
        if content := "\n".join(texts).strip():
            messages.append({"role": role, "content": content})
        else:
            skipped.note("tag without text", f"{source.name}:{line}")
    if {"user", "assistant"} <= {message["role"] for message in messages}:
        yield {"messages": messages}
    elif messages:
        skipped.note("conversation in which only one side speaks", f"{source.name}:{talk[0][1]}")


def parts(lines: Iterable[tuple[int, str]], style: re.Pattern[str]) -> Iterator[tuple[int, str | None, str, set[str]]]:
    """Yield (line number, role or None, text, the GAPS since the last part) for each tag and each line without one."""
    gap: set[str] = set()
    for number, line in lines:
        if not line.strip():
            gap |= {"blanks"} if "blank" in gap else {"blank"}
        elif DASHES.fullmatch(line):
            gap.add("dashes")
        else:
            for i, piece in enumerate(END.split(line)):
                if i:
                    gap.add("end")
                if piece.strip():
                    tag = style.match(piece)
                    role = ROLES.get(tag[1].lower(), "assistant") if tag else None
                    yield number, role, tag[2] if tag else piece, gap
                    gap = set()


def layout(head: str) -> tuple[re.Pattern[str] | None, set[str], bool]:
    """(the style or None, the GAPS that separate conversations, whether any of these is in the head)."""
    lines = list(enumerate(END.sub("\n", head).split("\n"), 1))
    matches = ((style, line) for _, line in lines for style in STYLES if style.match(line))
    style = next(matches, (None, ""))[0]
    if style is None:
        return None, set(), False
    gaps = [gap for _, role, _, gap in parts(enumerate(head.split("\n"), 1), style) if role][1:]
    # between messages, not conversations, is what precedes more than three of four tags
    separators = {kind for kind in GAPS if sum(kind in gap for gap in gaps) <= 0.75 * len(gaps)} if gaps else GAPS
    return style, separators, any(gap & separators for gap in gaps)
