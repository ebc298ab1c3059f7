"""
What is asked of somebody who gave no flags, at a terminal: which files, and who of those in them the bot is to be.
"""

import collections
import sys
from collections.abc import Collection
from pathlib import Path

from readers.archives import paths_in
from readers.detect import listed
from runtime.errors import InputError, did_you_mean


def ask(question: str) -> str:
    """The answer, which is not empty. Raises InputError where there will be none (Ctrl-D)."""
    while True:
        try:
            answer = input(question).strip()
        except EOFError:
            raise InputError("nothing was answered; --source=FILE --bot=NAME says the same without questions") from None
        if answer:
            return answer


def ask_for_paths() -> tuple[str, ...]:
    """Files and folders that there are."""
    while True:
        answer = ask("which files or folders? (drag them here, or type their names) ")
        if not answer.strip("\"' "):
            continue
        paths = paths_in(answer)
        missing = next((path for path in paths if not Path(path).exists()), None)
        if missing is None:
            return paths
        print(f"there is no file or folder {missing}" + ("; a name with spaces needs quotes" if len(paths) > 1 else ""))


def choose_bots(speakers: collections.Counter[str], bots: Collection[str]) -> Collection[str]:
    """
    Who of the speakers of chat logs becomes the bot: `bots`, or if that is empty what the person at the terminal
    answers; several names are one person's. Empty if there are no logs. Raises InputError that lists the speakers.
    """
    if bots or not speakers:
        return bots
    if not sys.stdin.isatty():
        raise InputError(f"say who the bot is to be, --bot=NAME; {listed(speakers)}")
    while True:
        answer = ask("who is the bot to be? (one person with several names: NAME, NAME) ")
        answers = [answer] if speaker_called(answer, speakers) else [part.strip() for part in answer.split(",")]
        names = [speaker_called(part, speakers) for part in answers if part]
        if names and all(names):
            return [name for name in names if name]
        unknown = next((part for part in answers if part and not speaker_called(part, speakers)), answer)
        print(f"nobody is called {unknown}{did_you_mean(unknown, speakers)}")


def speaker_called(name: str, speakers: Collection[str]) -> str | None:
    """The speaker of this name, in capitals or not where that leaves one."""
    if name in speakers:
        return name
    alike = [speaker for speaker in speakers if speaker.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None
