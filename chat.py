"""
Talk to a model in the terminal.

    $ python chat.py --out_dir=out-chat --system="i have two dogs. i live in seattle."
    $ python chat.py --prompt="hi, how are you?"
    $ printf 'hi\nwhat do you like?\n' | python chat.py          # a line in, a line out, one conversation
"""

import dataclasses
import sys
from dataclasses import dataclass

import configurator
import engine
from configurator import InputError

HELP = """/new begins again, /system TEXT gives the bot a persona, /retry asks for another reply,
/quit or Ctrl-D ends. Ctrl-C stops a reply."""


@dataclass(frozen=True)
class ChatConfig(engine.EngineConfig):
    """Talk to a model in the terminal, or have it answer --prompt or the lines of a pipe."""

    system: str | None = None  # the bot's persona, as the data have it: "i have two dogs. i live in seattle."
    prompt: str | None = None  # answer this and end


def chat(config):
    if config.prompt is not None and not config.prompt.strip():
        raise InputError("--prompt is empty; say something: --prompt=hello")
    speaker, content = engine.opened(config)
    messages = system_message(config.system)
    if not content:
        print(f"note: {config.init_from or config.out_dir} was never trained to chat; expect nonsense", file=sys.stderr)
    if config.prompt is not None:
        print(answer(speaker, messages, config.prompt, config, lambda text: None)[0])
    elif sys.stdin.isatty():
        talk(speaker, messages, config)
    else:
        answer_lines(speaker, messages, config)


def system_message(text):
    return [{"role": "system", "content": text.strip()}] if text and text.strip() else []


def answer(speaker, messages, text, config, show):
    """(reply, reason) to `text`; both are appended to `messages`. show: called with each piece as it comes."""
    messages.append({"role": "user", "content": text.strip()})
    seed = None if config.seed is None else config.seed + len(messages)  # each turn its own, each run the same
    reply, reason = "", "stopped"
    try:
        for piece in speaker.reply(messages, dataclasses.replace(config, seed=seed)):
            show(piece.text)
            reply, reason = reply + piece.text, piece.reason
    except InputError:
        messages.pop()
        raise
    except KeyboardInterrupt:
        if not sys.stdin.isatty():
            raise
    if reply:
        messages.append({"role": "assistant", "content": reply})
    if reason in ("length", "context"):
        ends = {
            "length": f"cut at {config.max_new_tokens} tokens; --max_new_tokens allows more",
            "context": "context full",
        }
        print(f"({ends[reason]})", file=sys.stderr)
    return reply, reason


def answer_lines(speaker, messages, config):
    """Answer each line of standard input with a line; empty lines are passed over."""
    heard = False
    for line in sys.stdin:
        if line.strip():
            heard = True
            reply, _ = answer(speaker, messages, line, config, lambda text: None)
            print(" ".join(reply.split("\n")), flush=True)
    if not heard:
        raise InputError("nothing to answer: standard input holds no text; --prompt=hello, or a terminal, would do")


def talk(speaker, messages, config):
    """The live chat. A reply is shown as it comes."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.formatted_text import ANSI

    ask = PromptSession()
    print("Ctrl-D ends, /help tells more.")
    while True:
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
            answer(speaker, messages, text, config, lambda piece: print(piece, end="", flush=True))
        except InputError as error:
            print(f"({error})", end="")
        print()


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
