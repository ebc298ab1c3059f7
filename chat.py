"""
Talk to a model in the terminal.

    $ python chat.py --out_dir=out-chat --system="i have two dogs. i live in seattle."
    $ python chat.py --resume                                    # go on with the last chat; --list shows all
    $ python chat.py --prompt="hi, how are you?"
    $ printf 'hi\nwhat do you like?\n' | python chat.py          # a line in, a line out, one conversation
"""

import dataclasses
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import configurator
from inference.opening import NotOpened, Opening
from inference.settings import TalkConfig, check_exists
from runtime.errors import InputError
from runtime.json_file import read_json_if_there
from serving import personas
from terminal import saved
from tokenization.special_tokens import ROLE_TAGS

if TYPE_CHECKING:
    from inference.engine import Engine
    from memory.notes import Memory
    from terminal.conversation import Conversation, Reply


@dataclass(frozen=True)
class ChatConfig(TalkConfig):
    """Talk to a model in the terminal, or have it answer --prompt or the lines of a pipe."""

    system: str | None = None  # the bot's persona: "i have two dogs.", or a file: FILE:PATH, FILE:NAME of personas/
    prompt: str | None = None  # answer this and end
    resume: bool | str = False  # go on with the last saved chat, or the one that --list shows under this number or name
    list: bool | str = False  # show the saved chats, all or those in which this is said, and end
    no_history: bool = False  # keep neither the chat nor what is typed
    memory: bool | str = False  # note what people tell, for when it leaves the context; a file keeps it between chats


def chat(config: ChatConfig) -> None:
    if config.prompt is not None and not config.prompt.strip():
        raise InputError("--prompt is empty; say something: --prompt=hello")
    if config.list:
        list_chats("" if config.list is True else str(config.list))
        return
    resumed = open_saved(config)
    messages = resumed[1].messages if resumed else personas.opening(config.system)

    check_exists(config.folder)
    from terminal.conversation import Conversation

    if config.prompt is None and sys.stdin.isatty() and read_json_if_there(Path(config.folder, "chat.json")):
        opening = Opening(config)  # while the person types; of another program's model, more is to be told before
        talk(Conversation(opening, config, messages, open_memory(config)), config, resumed, opening)
        return
    from inference.loading import open_engine  # imports torch: not at the top, so that --help and errors come at once

    engine, chat_json = open_engine(config)
    if not chat_json:
        config = for_raw_model(config, engine)
    conversation = Conversation(engine, config, messages, open_memory(config))
    if config.prompt is not None:
        reply = conversation.ask(config.prompt)
        print(reply.text)
        warn_if_cut(reply)
    elif sys.stdin.isatty():
        talk(conversation, config, resumed)
    else:
        answer_lines(conversation)


def open_saved(config: ChatConfig) -> "tuple[Path, saved.Read] | None":
    """(file, content) of the chat that --resume names, or None. Raises InputError."""
    if not config.resume:
        return None
    if config.system is not None:
        raise InputError("--resume goes on with a chat and its persona: leave out --system")
    paths = saved.saved_paths()
    if config.resume is True and not paths:
        raise InputError("no chat is saved yet; leave out --resume")
    path = paths[0] if config.resume is True else saved.find(str(config.resume))
    return path, saved.read(path)


def open_memory(config: ChatConfig) -> "Memory | None":
    """The memory, with the notes of earlier chats where --memory names their file, or None."""
    if not config.memory:
        return None
    from memory.notes import Memory

    path = memory_file(config)
    return Memory(path.read_text(encoding="utf-8", errors="replace").splitlines() if path and path.exists() else [])


def memory_file(config: ChatConfig) -> Path | None:
    """Where the notes stay between chats, if they do."""
    return Path(config.memory).expanduser() if isinstance(config.memory, str) else None


def list_chats(word: str) -> None:
    """Show the saved chats in which the word is said."""
    from terminal.screen import new_console, show_table

    rows = saved.entries(word)
    if not rows:
        raise InputError(f"no saved chat has {word!r} in it" if word else "no chat is saved yet")
    show_table(new_console(), rows, saved.Entry._fields)


def for_raw_model(config: ChatConfig, engine: "Engine") -> ChatConfig:
    """The settings for a model that was never taught to chat, which people are told: a tag in a reply ends it."""
    from tokenization.chat_template import PlainText

    if engine.template.name == PlainText.name:
        print(
            f"note: {config.folder} was never trained to chat: it continues a script, and expect nonsense. Fine-tuning "
            f"makes it a partner: python train.py config/finetune_chat.py --init_from={config.folder}",
            file=sys.stderr,
        )
    return dataclasses.replace(config, stop=(*config.stop, *ROLE_TAGS.values()))


def warn_if_cut(reply: "Reply") -> None:
    """Say on standard error that a limit cut the reply."""
    if reply.reason and reply.reason.name in ("LENGTH", "CONTEXT"):
        hint = "--max_new_tokens allows more" if reply.reason.name == "LENGTH" else "the context is full"
        print(f"(cut; {hint})", file=sys.stderr)


def answer_lines(conversation: "Conversation") -> None:
    """
    Answer each line of standard input with a line, one that cannot be answered with an error's; empty lines are
    skipped. Raises InputError if none is answered.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    n_answered, refused = 0, None
    for number, line in enumerate(sys.stdin, 1):
        if not line.strip():
            continue
        try:
            reply = conversation.ask(line)
        except InputError as error:  # too long, say: the lines behind it are answered all the same
            refused = f"line {number}: {error}"
            print(f"error: {refused}", flush=True)
            continue
        n_answered += 1
        print(" ".join(reply.text.splitlines()), flush=True)
        warn_if_cut(reply)
    if not n_answered:
        empty = "nothing to answer: standard input holds no text; --prompt=hello, or a terminal, would do"
        raise InputError(refused or empty)


def talk(
    conversation: "Conversation",
    config: ChatConfig,
    resumed: "tuple[Path, saved.Read] | None",
    opening: Opening | None = None,
) -> None:
    """The live chat in a terminal. opening: of its model, which begins when all that a prompt needs is there."""
    from terminal.commands import complete
    from terminal.screen import Screen
    from terminal.session import Session
    from terminal.talk import talk

    screen = Screen(complete, None if config.no_history else saved.data_folder() / "history")
    path, started = (resumed[0], resumed[1].started) if resumed else (None, None)
    session = Session(conversation, screen, Path(config.folder).name, not config.no_history, path, started)
    session.notes = memory_file(config)
    if resumed:
        session.show_last()
    else:
        session.show_opening()
    if not opening:
        talk(session)
        return
    session.ready = opening.ready
    opening.start(screen.leave)
    try:
        talk(session)
    except NotOpened as error:
        raise error.__cause__ or error from None
    opening.leave()


if __name__ == "__main__":
    configurator.main(chat, ChatConfig)
