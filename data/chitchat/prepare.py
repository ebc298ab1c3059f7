"""
The BYU Chit-Chat Challenge (Myers et al. 2020): students who talk about anything, some for hundreds of turns.
7,168 conversations, 4,018 of them with a reply; licence: MIT. It comes with the package chitchat-dataset, so that no
download is needed. Both sides are people: each conversation gives two views, one for each of them as the bot.

    $ python data/chitchat/prepare.py --tokenizer=train:8192
"""

import html
import importlib.util
import itertools
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import configurator
from dataset.prepare import PrepareConfig, prepare_folder
from runtime.errors import InputError

ABOUT = {"name": "Chit-Chat Challenge", "licence": "MIT", "url": "https://github.com/BYU-PCCL/chitchat-dataset"}


def conversations(settings, skipped):
    package = importlib.util.find_spec("chitchat_dataset")
    if not settings.source and package is None:
        raise InputError("the package chitchat-dataset is missing: pip install -r requirements.txt")
    for path in settings.source or (Path(package.origin).with_name("dataset.json"),):
        yield from records(path, skipped)


def records(path, skipped):
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        for conversation in content.values():
            bursts = itertools.chain.from_iterable(conversation["messages"])
            said = [(message["sender"], html.unescape(message["text"]).strip()) for message in bursts]
            said = [(sender, text) for sender, text in said if text]
            speakers = list(dict.fromkeys(sender for sender, _ in said))
            if len(speakers) < 2:
                skipped["without a reply"] += 1
                continue
            for bot in speakers[1], speakers[0]:
                role = {speaker: "assistant" if speaker == bot else "user" for speaker in speakers}
                yield {"messages": [{"role": role[sender], "content": text} for sender, text in said]}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not the Chit-Chat Challenge's JSON ({error})") from None


def prepare(settings):
    prepare_folder(settings, __file__, conversations, ABOUT)


if __name__ == "__main__":
    configurator.main(prepare, PrepareConfig)
