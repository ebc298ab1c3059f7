"""
Talk to a model in the terminal.

    $ python chat.py --out_dir=out-chat --system="i have two dogs. i live in seattle."
    $ python chat.py --prompt="hi, how are you?"
    $ printf 'hi\nwhat do you like?\n' | python chat.py          # a line in, a line out, one conversation
"""

import dataclasses
import io
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import configurator
from inference.settings import EngineConfig, SamplingParams
from inference.streaming import FinishReason
from runtime.errors import InputError

if TYPE_CHECKING:
    from inference.engine import Engine

HELP = """/new begins again, /system TEXT gives the bot a persona, /retry asks for another reply,
/quit or Ctrl-D ends. Ctrl-C stops a reply."""
# what is said behind a reply that a limit ended
CUT: dict[FinishReason | None, str] = {
    FinishReason.LENGTH: "cut; --max_new_tokens allows more",
    FinishReason.CONTEXT: "cut; the context is full",
}


@dataclass(frozen=True)
class ChatConfig(EngineConfig):
    """Talk to a model in the terminal, or have it answer --prompt or the lines of a pipe."""

    system: str | None = None  # the bot's persona, as the data have it: "i have two dogs. i live in seattle."
    prompt: str | None = None  # answer this and end


def chat(config: ChatConfig) -> None:
    from inference.loading import open_engine  # imports torch: not at the top, so that --help and errors come at once
    from tokenization.chat_template import PlainText

    if config.prompt is not None and not config.prompt.strip():
        raise InputError("--prompt is empty; say something: --prompt=hello")
    engine, chat_json = open_engine(config)
    messages = system_message(config.system)
    if not chat_json and engine.template.name == PlainText.name:
        print(f"note: {config.folder} was never trained to chat; expect nonsense", file=sys.stderr)
    if config.prompt is not None:
        reply, reason = answer(engine, messages, config.prompt, config)
        print(reply)
        warn_if_cut(reason)
    elif sys.stdin.isatty():
        talk(engine, messages, config)
    else:
        answer_lines(engine, messages, config)


def system_message(text: str | None) -> list[dict[str, str]]:
    """The messages that a chat with this persona starts from."""
    return [{"role": "system", "content": text.strip()}] if text and text.strip() else []


def with_turn_seed(config: ChatConfig, turn: int) -> ChatConfig:
    """
    The settings of reply number `turn`, from 0 on: with a seed, each reply has its own one, and each run the same ones.
    """
    return config if config.seed is None else dataclasses.replace(config, seed=config.seed + turn)


def answer(
    engine: "Engine",
    messages: list[dict[str, str]],
    text: str,
    sampling: SamplingParams,
    show: Callable[[str], object] = lambda text: None,
) -> tuple[str, FinishReason | None]:
    """
    The reply to `text`, and why it ended. The question and the reply are appended to `messages`.
    show: is given each piece of text as it comes. Ctrl-C at a terminal ends the reply early.
    Raises InputError, and forgets the question, if that is too long.
    """
    messages.append({"role": "user", "content": text.strip()})
    reply, reason = "", None
    try:
        for piece in engine.reply(messages, sampling):
            show(piece.text)
            reply, reason = reply + piece.text, piece.reason
    except InputError:
        messages.pop()
        raise
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
        reason = FinishReason.INTERRUPTED
    if reply:
        messages.append({"role": "assistant", "content": reply})
    return reply, reason


def warn_if_cut(reason: FinishReason | None) -> None:
    """Say on standard error that a limit cut the reply."""
    if reason in CUT:
        print(f"({CUT[reason]})", file=sys.stderr)


def answer_lines(engine: "Engine", messages: list[dict[str, str]], config: ChatConfig) -> None:
    """
    Answer each line of standard input with a line, one that cannot be answered with an error's; empty lines are
    skipped. Raises InputError if none is answered.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    turn, refused = 0, None
    for number, line in enumerate(sys.stdin, 1):
        if not line.strip():
            continue
        try:
            reply, reason = answer(engine, messages, line, with_turn_seed(config, turn))
        except InputError as error:  # too long, say: the lines behind it are answered all the same
            refused = f"line {number}: {error}"
            print(f"error: {refused}", flush=True)
            continue
        turn += 1
        print(" ".join(reply.splitlines()), flush=True)
        warn_if_cut(reason)
    if not turn:
        empty = "nothing to answer: standard input holds no text; --prompt=hello, or a terminal, would do"
        raise InputError(refused or empty)


def talk(engine: "Engine", messages: list[dict[str, str]], config: ChatConfig) -> None:
    """The live chat in a terminal: replies are shown as they come, and a line that begins with / is a command."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.formatted_text import ANSI

    session = PromptSession()
    print("Ctrl-D ends, /help tells more.")
    for turn in itertools.count():
        try:
            text = session.prompt(ANSI("\033[1m[Human]:\033[0m ")).strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if not text:
            continue
        command, _, argument = text.partition(" ")
        if command == "/quit":
            return
        if command == "/new":
            messages[:] = [message for message in messages[:1] if message["role"] == "system"]
            print("(a new conversation)")
            continue
        if command == "/system":
            messages[:] = system_message(argument)
            print("(a new conversation" + (f", with the persona: {argument})" if messages else ", without a persona)"))
            continue
        if command == "/retry":
            text = take_back_question(messages)
            if text is None:
                print("(nothing to retry yet)")
                continue
        elif command.startswith("/"):
            print(HELP if command == "/help" else f"there is no {command}. {HELP}")
            continue
        print("\033[1m[Bot]:\033[0m ", end="", flush=True)
        try:
            show = partial(print, end="", flush=True)
            _, reason = answer(engine, messages, text, with_turn_seed(config, turn), show)
            print(f" ({CUT[reason]})" if reason in CUT else "")
        except InputError as error:
            print(f"({error})")


def take_back_question(messages: list[dict[str, str]]) -> str | None:
    """Remove the last question and what follows it from `messages`; return it, or None if nothing was asked."""
    last = next((i for i in range(len(messages) - 1, -1, -1) if messages[i]["role"] == "user"), None)
    if last is None:
        return None
    text = messages[last]["content"]
    del messages[last:]
    return text


if __name__ == "__main__":
    configurator.main(chat, ChatConfig)
