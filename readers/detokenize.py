"""
English that a corpus has tokenised or damaged, as people write it.
"""

import re

from readers import parlai

ODD = str.maketrans({**dict.fromkeys("’‘´`′", "'"), "。": ".", "，": ",", "、": ",", "？": "?", "\x7f": ""})
SHORT = r"(s|t|m|re|ve|ll|d)"  # what stands behind an apostrophe: it's, don't, I'm


def as_typed(text: str) -> str:
    """What a person typed, on one line and without the space before a full stop; smileys stay as they are."""
    text = re.sub(r"\s+([,.!?]+)(?=\s|$)", r"\1", text)
    return re.sub(r"\s+", " ", text).strip()


def detokenize(text: str) -> str:
    """Text without spaces around punctuation, odd apostrophes and touching sentences: "I ’ m late.Go ,, Tom 。"."""
    text = text.translate(ODD)
    text = re.sub(rf"(\w)\s*'\s+{SHORT}\b", lambda match: f"{match[1]}'{match[2].lower()}", text, flags=re.I)
    text = re.sub(rf"(\w)\s+'{SHORT}\b", lambda match: f"{match[1]}'{match[2].lower()}", text, flags=re.I)
    text = re.sub(r"([a-z]['a-z])\s*([.?!,])(?=[A-Z][a-z' ])", r"\1\2 ", text)  # "is.What" but not "U.S."
    text = re.sub(r"(?<!\w)'\s+(.+?)\s+'(?!\w)", r"'\1'", text)  # ' like this '
    text = re.sub(r"([“£¥€])\s+", r"\1", text).replace(" ”", "”")
    return parlai.cleaned(text)
