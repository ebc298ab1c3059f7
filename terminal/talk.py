"""The live chat: a line that begins with a slash is a command, any other is said to the bot."""

import functools

from runtime.errors import InputError
from terminal import commands
from terminal.session import Session


def talk(session: Session) -> None:
    """Take lines until the person leaves. Whatever is typed, the chat goes on."""
    session.screen.say("Ctrl-D ends, /help tells more.")
    while True:
        try:
            text = session.screen.ask()
            if text.startswith("/"):
                commands.run(session, text)
            elif text:
                session.reply(functools.partial(session.chat.ask, text))
        except KeyboardInterrupt:  # at the prompt: the line is forgotten
            continue
        except InputError as error:
            session.screen.note(str(error))
        except OSError as error:  # a file that a command names
            session.screen.note(f"{error.filename or 'input or output'}: {error.strerror or error}")
        except (EOFError, commands.Quit):
            return
        finally:
            session.keep()
