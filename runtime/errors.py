"""What a user can cause and mend."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something a user can cause and mend. The message is one line: what, where, what would be right."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """The end of an error's sentence: ", did you mean CHOICE?", or "" if no choice resembles the word."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f", did you mean {close[0]}?" if close else ""
