"""
Books, to learn a language from before learning to talk: any plain texts of yours, such as novels in the public domain.
A text file is a document, and so is each row {"text": "...", "book": "..."} of a .jsonl file; both may be in .xz.
Documents are cut into rows as long as the context, and all of their words are learned. Licence: say it with --licence.

    $ python data/prose/prepare.py --source=novel.txt --source=books.jsonl.xz --licence="public domain"
"""

import json
import lzma
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from dataset.rendering import Record
from readers.source import Skipped
from runtime.errors import InputError


@dataclass(frozen=True)
class ProseConfig(PrepareConfig):
    """Turn books into the files that train.py reads."""

    licence: str = "as the texts have it"  # for meta.json; public domain, MIT and the like may be passed on

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.source:
            raise ValueError("say which texts: --source=novel.txt, once for each file")


def conversations(settings: ProseConfig, skipped: Skipped) -> Iterator[Record]:
    for source in settings.source:
        path = Path(source)
        try:
            opener = lzma.open if path.suffix == ".xz" else open
            with opener(path, "rt", encoding="utf-8-sig") as file:
                if path.name.removesuffix(".xz").endswith(".jsonl"):
                    for number, line in enumerate(file, 1):
                        yield {"text": text_of_row(line, f"{path}:{number}")}
                else:
                    yield {"text": file.read()}
        except (UnicodeDecodeError, lzma.LZMAError, EOFError) as error:
            raise InputError(f"{path}: neither text in UTF-8 nor such a text in .xz ({error})") from None


def text_of_row(line: str, place: str) -> str:
    """The text of a row. Raises InputError."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{place}: not JSON ({error})") from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise InputError(f'{place}: a row is {{"text": "..."}}')
    return row["text"]


def prepare(settings: ProseConfig) -> None:
    about = {"name": "prose", "licence": settings.licence, "url": "local files"}
    prepare_folder(settings, __file__, conversations, about)


if __name__ == "__main__":
    configurator.main(prepare, ProseConfig)
