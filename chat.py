"""
Talk to a model in the terminal.

    $ python chat.py --out_dir=out-chat --system="i have two dogs. i live in seattle."
    $ python chat.py --prompt="hi, how are you?"
    $ printf 'hi\nwhat do you like?\n' | python chat.py          # a line in, a line out, one conversation
"""

import dataclasses
import itertools
import sys
from dataclasses import dataclass
from functools import partial

import configurator
from inference.loading import open_engine
from inference.settings import EngineConfig
from runtime.errors import InputError

HELP = """/new begins again, /system TEXT gives the bot a persona, /retry asks for another reply,
/quit or Ctrl-D ends. Ctrl-C stops a reply."""
CUT = {"length": "cut; --max_new_tokens allows more", "context": "cut; the context is full"}


@dataclass(frozen=True)
class ChatConfig(EngineConfig):
    """Talk to a model in the terminal, or have it answer --prompt or the lines of a pipe."""

    system: str | None = None  # the bot's persona, as the data have it: "i have two dogs. i live in seattle."
    prompt: str | None = None  # answer this and end


def chat(config):
    if config.prompt is not None and not config.prompt.strip():
        raise InputError("--prompt is empty; say something: --prompt=hello")
    speaker, content = open_engine(config)
    messages = system_message(config.system)
    if not content:
        print(f"note: {config.init_from or config.out_dir} was never trained to chat; expect nonsense", file=sys.stderr)
    if config.prompt is not None:
        reply, reason = answer(speaker, messages, config.prompt, config)
        print(reply)
        tell(reason)
    elif sys.stdin.isatty():
        talk(speaker, messages, config)
    else:
        answer_lines(speaker, messages, config)


def system_message(text):
    return [{"role": "system", "content": text.strip()}] if text and text.strip() else []


def seeded(config, turn):
    """How the reply number `turn` of a run is drawn: with a seed, each has its own, and each run the same."""
    return config if config.seed is None else dataclasses.replace(config, seed=config.seed + turn)


def answer(speaker, messages, text, sampling, show=lambda text: None):
    """(reply, reason) to `text`; both are appended to `messages`. show: called with each piece as it comes."""
    messages.append({"role": "user", "content": text.strip()})
    reply, reason = "", None
    try:
        for piece in speaker.reply(messages, sampling):
            show(piece.text)
            reply, reason = reply + piece.text, piece.reason
    except InputError:
        messages.pop()
        raise
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
        reason = "stopped"
    if reply:
        messages.append({"role": "assistant", "content": reply})
    return reply, reason


def tell(reason):
    """Say on standard error that a reply was cut."""
    if reason in CUT:
        print(f"({CUT[reason]})", file=sys.stderr)


def answer_lines(speaker, messages, config):
    """Answer each line of standard input with a line; empty lines are passed over."""
    sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    turn = 0
    for turn, line in enumerate(filter(str.strip, sys.stdin), 1):
        reply, reason = answer(speaker, messages, line, seeded(config, turn))
        print(" ".join(reply.splitlines()), flush=True)
        tell(reason)
    if not turn:
        raise InputError("nothing to answer: standard input holds no text; --prompt=hello, or a terminal, would do")


def talk(speaker, messages, config):
    """The live chat. A reply is shown as it comes."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.formatted_text import ANSI

    ask = PromptSession()
    print("Ctrl-D ends, /help tells more.")
    for turn in itertools.count(1):
        try:
            text = ask.prompt(ANSI("\033[1m[Human]:\033[0m ")).strip()
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
            del messages[len(messages[:1]) if messages and messages[0]["role"] == "system" else 0 :]
            print("(a new conversation)")
            continue
        if command == "/system":
            messages[:] = system_message(argument)
            print("(a new conversation" + (f", with the persona: {argument})" if messages else ", without a persona)"))
            continue
        if command == "/retry":
            text = retried(messages)
            if text is None:
                print("(nothing to retry yet)")
                continue
        elif command.startswith("/"):
            print(HELP if command == "/help" else f"there is no {command}. {HELP}")
            continue
        print("\033[1m[Bot]:\033[0m ", end="", flush=True)
        try:
            _, reason = answer(speaker, messages, text, seeded(config, turn), partial(print, end="", flush=True))
            print(f" ({CUT[reason]})" if reason in CUT else "")
        except InputError as error:
            print(f"({error})")


def retried(messages):
    """Take the last question and its reply back; return the question, or None."""
    last = next((i for i in range(len(messages) - 1, -1, -1) if messages[i]["role"] == "user"), None)
    if last is None:
        return None
    text = messages[last]["content"]
    del messages[last:]
    return text


if __name__ == "__main__":
    configurator.main(chat, ChatConfig)
