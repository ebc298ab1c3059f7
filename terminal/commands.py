"""
The commands of the chat: what begins with a slash. Each is a function of the session and of what stands behind its
name; what it prints is all that it returns. `run` finds the command, `complete` completes what is typed of one.
"""

import dataclasses
import time
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import configurator
from inference.settings import SamplingParams
from memory.notes import Memory
from runtime.errors import InputError, did_you_mean
from serving import personas
from terminal import saved
from terminal.conversation import Display, Reply
from terminal.saved import SavedChat
from terminal.session import Session

HINTS = typing.get_type_hints(SamplingParams)
SETTINGS = {field.name: HINTS[field.name] for field in dataclasses.fields(SamplingParams)}  # name -> type
ENDINGS = (".txt", ".md", ".jsonl")  # of exported files


class Quit(Exception):
    """The person leaves."""


def help_(session: Session, argument: str) -> None:
    session.screen.table((f"{each.name} {each.argument}".strip(), each.purpose) for each in COMMANDS)
    session.screen.say("Alt-Enter begins a new line, Tab completes, Ctrl-C stops a reply, Ctrl-D leaves.")


def new(session: Session, argument: str) -> None:
    opening = [message for message in session.chat.messages[:1] if message["role"] == "system"]
    session.begin(opening)
    session.screen.note("a new conversation")


def undo(session: Session, argument: str) -> None:
    text = session.chat.undo()
    session.screen.note("nothing to undo yet" if text is None else f"forgotten: {shortened(text)}")


def retry(session: Session, argument: str) -> None:
    session.reply(session.chat.retry)


def go_on(session: Session, argument: str) -> None:
    session.reply(session.chat.go_on)


def edit(session: Session, argument: str) -> None:
    """My last message, and a new reply to it; `bot` before the text: the bot's last message."""
    chat = session.chat
    word, _, rest = argument.partition(" ")
    role = "assistant" if word == "bot" else "user"
    index = chat.last_index(role)
    if index is None:
        session.screen.note("nothing to edit yet")
        return
    text = (rest if word == "bot" else argument).strip()
    text = text or session.screen.ask(chat.messages[index]["content"])
    if not text:
        session.screen.note("left as it was")
    elif role == "user":

        def ask_again(display: Display) -> Reply:
            del chat.messages[index:]
            return chat.ask(text, display)

        session.reply(ask_again)
    else:
        before = chat.messages[index]["content"]
        chat.messages[index:] = [{"role": role, "content": text}]
        if text != before:
            session.feed_back(index, before, edit=text)
        session.screen.note("the bot's last message is what you wrote")


def system(session: Session, argument: str) -> None:
    session.begin(personas.opening(argument))
    persona = "".join(each["content"] for each in session.chat.messages if each["role"] == "system")
    session.screen.note("a new conversation" + (f", with the persona: {persona}" if persona else ", without a persona"))
    session.show_opening()


def memory(session: Session, argument: str) -> None:
    chat = session.chat
    verb, _, rest = argument.partition(" ")
    if verb in ("on", "off"):
        chat.remember(Memory() if verb == "on" else None)
        session.screen.note(f"memory is {verb}")
        return
    if not chat.memory:
        raise InputError("memory is off; /memory on turns it on")
    if verb in ("forget", "edit"):
        number, _, rest = rest.partition(" ")
        notes = chat.memory.notes
        if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= len(notes):
            raise InputError(f"/memory {verb} NUMBER, as /memory lists them")
        chat.memory.forget(notes[int(number) - 1])
    elif verb not in ("", "add"):
        raise InputError("/memory alone lists the notes; on, off, add TEXT, edit NUMBER TEXT, forget NUMBER")
    if verb in ("add", "edit") and rest.strip():
        chat.memory.add(" ".join(rest.split()))
    if chat.memory.notes:
        session.screen.table((i, note.text) for i, note in enumerate(chat.memory.notes, 1))
    else:
        session.screen.note("nothing is noted yet")


def set_(session: Session, argument: str) -> None:
    chat = session.chat
    for word in argument.split():
        name, given, text = word.partition("=")
        if name not in SETTINGS:
            raise InputError(f"there is no setting {name}{did_you_mean(name, SETTINGS) or '; /set lists them'}")
        if given:
            value = configurator.parse_text(text, SETTINGS[name], name)
            try:
                chat.sampling = dataclasses.replace(chat.sampling, **{name: value})
            except InputError:
                raise
            except ValueError as error:
                raise InputError(str(error)) from None
        session.screen.note(f"{name} is {getattr(chat.sampling, name)}")
    if not argument:
        session.screen.table((name, getattr(chat.sampling, name)) for name in SETTINGS)


def save(session: Session, argument: str) -> None:
    """Write the chat to a file that --resume and /load read."""
    if not argument:
        session.screen.note(f"saved at every turn, in {session.file.path}" if session.file else "/save FILE, say where")
        return
    SavedChat(session.model, Path(argument).expanduser()).write(session.chat.messages)
    session.screen.note(f"saved in {argument}")


def load(session: Session, argument: str) -> None:
    """Go on with a saved chat: its number or name, or a file."""
    if not argument:
        session.screen.table(saved.entries(), saved.Entry._fields)
        session.screen.note("/load NUMBER, or a file, goes on with one")
        return
    path = saved.find(argument)
    chat = saved.read(path)
    session.begin(chat.messages, path, chat.started)
    session.screen.note(f"{len(chat.messages)} messages from {path.name}")
    session.show_last()


def export(session: Session, argument: str) -> None:
    path = Path(argument).expanduser()
    if not argument or path.suffix not in ENDINGS:
        raise InputError(f"/export FILE, which ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    saved.write_private(path, saved.exported(session.chat.messages, path.suffix))
    session.screen.note(f"written to {argument}")


def good(session: Session, argument: str) -> None:
    judge(session, "good")


def bad(session: Session, argument: str) -> None:
    judge(session, "bad")


def judge(session: Session, verdict: str) -> None:
    index = session.chat.last_index("assistant")
    if index is None:
        session.screen.note("no reply yet")
        return
    session.feed_back(index, session.chat.messages[index]["content"], verdict=verdict)
    session.screen.note(f"noted as {verdict}, in {session.feedback.path}")


def stats(session: Session, argument: str) -> None:
    chat, last = session.chat, session.chat.last
    rows: list[tuple[str, str]] = []
    if last:
        rows = [
            ("the last reply", f"{last.n_tokens} tokens, {speed(last):.0f} a second, {why(last)}"),
            ("its first letters", f"after {last.seconds_to_first:.2f} s"),
        ]
    n_context = len(chat.engine.template.prompt(chat.in_view())) if chat.messages else 0
    caught = ", ".join(f"{fault} {n}" for fault, n in chat.caught.items()) or "none"
    mended = f"; another try mended {chat.n_mended}" if chat.caught else ""
    rows += [
        ("the context", f"{n_context} of {chat.engine.block_size} tokens"),
        ("out of view", f"{chat.view.start} of {len(chat.messages)} messages"),
        ("replies", f"{chat.n_replies} made in {time.monotonic() - session.since:.0f} s"),
        ("faults caught", caught + mended),
    ]
    session.screen.table(rows)


def speed(reply: Reply) -> float:
    """Tokens a second after the first."""
    return max(0, reply.n_tokens - 1) / max(1e-9, reply.seconds - reply.seconds_to_first)


def why(reply: Reply) -> str:
    return f"ended by {reply.reason.name.lower().replace('_', ' ')}" if reply.reason else "ended as it looped"


def quit_(session: Session, argument: str) -> None:
    raise Quit


class Command(NamedTuple):
    name: str
    argument: str  # as /help shows it
    purpose: str  # a line
    run: Callable[[Session, str], None]


COMMANDS = (
    Command("/help", "", "this list", help_),
    Command("/new", "", "begin again, with the same persona", new),
    Command("/undo", "", "forget my last message and its reply", undo),
    Command("/retry", "", "another reply", retry),
    Command("/continue", "", "let the bot go on", go_on),
    Command("/edit", "[bot] [TEXT]", "change my last message, or the bot's", edit),
    Command("/system", "[TEXT or FILE:NAME]", "begin again with this persona", system),
    Command("/memory", "[on, off, add, edit, forget]", "what the bot knows of me: show it, change it", memory),
    Command("/set", "[NAME=VALUE ...]", "show or change how replies are made: temperature=0.7", set_),
    Command("/save", "[FILE]", "write the chat to a file", save),
    Command("/load", "[NUMBER or FILE]", "go on with a saved chat; alone: list them", load),
    Command("/export", "FILE", "write the chat as .txt, .md or .jsonl", export),
    Command("/good", "", "the last reply was good: keep it to learn from", good),
    Command("/bad", "", "the last reply was bad", bad),
    Command("/stats", "", "speed, context, and what was caught", stats),
    Command("/quit", "", "leave, as Ctrl-D does", quit_),
)


def run(session: Session, text: str) -> None:
    """Do what a line that begins with a slash says. Raises InputError and Quit."""
    name, _, argument = text.partition(" ")
    by_name = {command.name: command for command in COMMANDS}
    if name not in by_name:
        raise InputError(f"there is no {shortened(name)}{did_you_mean(name, by_name) or '; /help lists what there is'}")
    by_name[name].run(session, argument.strip())


def complete(text: str) -> Iterable[tuple[str, str]]:
    """(word, purpose) of what the last word of a command may become."""
    if not text.startswith("/") or "\n" in text:
        return []
    name, space, argument = text.partition(" ")
    if not space:
        return [(each.name, each.purpose) for each in COMMANDS if each.name.startswith(name)]
    choices: list[tuple[str, str]] = []
    if name == "/set":
        comments = configurator.field_comments(SamplingParams)
        choices = [(f"{setting}=", comments.get(setting, "")) for setting in SETTINGS]
    elif name == "/system" and " " not in argument:
        choices = [(personas.FROM_FILE + each, "") for each in personas.names()]
    elif name == "/memory" and " " not in argument:
        choices = [("on", ""), ("off", ""), ("add", "TEXT"), ("edit", "NUMBER TEXT"), ("forget", "NUMBER")]
    elif name == "/edit" and " " not in argument:
        choices = [("bot", "the bot's last message")]
    elif name == "/load":
        choices = [(str(each.number), each.begins) for each in saved.entries()]
    word = argument.rpartition(" ")[2]
    return [choice for choice in choices if choice[0].startswith(word)]


def shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
