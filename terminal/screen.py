"""
What a person sees and types: the prompt with its history and completion, replies as they come, notes and tables. Plain
where the output is no terminal, and without colour where NO_COLOR is set.
"""

import contextlib
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import create_output
from prompt_toolkit.utils import get_cwidth
from rich.console import Console
from rich.table import Table

from terminal.conversation import Display
from terminal.saved import private_file
from tokenization.chat_format import without_lone_surrogates
from tokenization.special_tokens import ROLE_TAGS

MENU_ROWS = 6  # of completions, kept free below a command that is being typed
# from the text before the cursor to what may replace its last word: (word, what it is for)
Complete = Callable[[str], Iterable[tuple[str, str]]]


class WordCompleter(Completer):
    """Completes the last word before the cursor."""

    def __init__(self, complete: Complete) -> None:
        self.complete = complete

    def get_completions(self, document: Document, complete_event: object) -> Iterator[Completion]:
        text = document.text_before_cursor
        n = len(text) - (text.rfind(" ") + 1)
        for word, purpose in self.complete(text):
            yield Completion(word, start_position=-n, display_meta=purpose)


class PrivateHistory(FileHistory):
    """What was typed, in a file that only its owner may read; any text can be kept."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(private_file(path)))

    def store_string(self, string: str) -> None:
        super().store_string(without_lone_surrogates(string))


class Screen:
    """
    The terminal. complete: what completes the typed text. history: a file for the lines that are typed; None keeps them
    for this chat only.
    """

    def __init__(self, complete: Complete, history: Path | None = None) -> None:
        self.console = new_console()
        kept: History = PrivateHistory(history) if history else InMemoryHistory()
        is_command = Condition(lambda: self.session.default_buffer.text.startswith("/"))
        self.session: PromptSession[str] = PromptSession(
            history=kept,
            completer=WordCompleter(complete),
            complete_while_typing=is_command,
            reserve_space_for_menu=MENU_ROWS,
            multiline=True,
            key_bindings=key_bindings(),
            prompt_continuation="  ",
        )
        self.shown = ""  # of the reply that is being shown
        self.is_stopped = False
        self.parting: Exception | None = None  # what ends the chat, whatever is typed

    def ask(self, text: str = "") -> str:
        """What the person types, `text` to begin with. Raises EOFError at Ctrl-D and KeyboardInterrupt at Ctrl-C."""
        if self.parting:  # on a terminal that can do nothing, `part` is not called
            raise self.parting
        prompt = ANSI(f"\033[1m{ROLE_TAGS['user']}\033[0m ")
        return without_lone_surrogates(self.session.prompt(prompt, default=text, pre_run=self.part)).strip()

    def leave(self, error: Exception) -> None:
        """Have the question that stands on the screen, or else the next one, raise this. For any thread."""
        self.parting = error
        loop = self.session.app.loop
        with contextlib.suppress(RuntimeError):  # the loop was closed just now: the next question finds the error
            if loop:
                loop.call_soon_threadsafe(self.part)

    def part(self) -> None:
        """End the question, in its own thread, if `leave` asked for it."""
        future = self.session.app.future
        if self.parting and future and not future.done():
            self.session.app.exit(exception=self.parting)

    def say(self, text: str) -> None:
        """Print a line of ours."""
        self.console.out(printable(text), highlight=False)

    def note(self, text: str) -> None:
        """Print a remark, in brackets."""
        self.console.out(f"({printable(text)})", style="dim", highlight=False)

    def table(self, rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> None:
        """Print rows in columns."""
        show_table(self.console, rows, header)

    @contextlib.contextmanager
    def reply(self) -> Iterator[Display]:
        """Where one reply appears. Ctrl-C ends it; a second one breaks off whatever goes on."""
        self.shown, self.is_stopped = "", False
        before = signal.signal(signal.SIGINT, self.stop)
        try:
            yield Display(self.say_bot, self.show, self.erase, lambda: self.is_stopped)
        finally:
            signal.signal(signal.SIGINT, before)

    def stop(self, *_: object) -> None:
        """What Ctrl-C does amid a reply."""
        if self.is_stopped:
            raise KeyboardInterrupt
        self.is_stopped = True

    def say_bot(self) -> None:
        self.console.out(ROLE_TAGS["assistant"], style="bold", end="", highlight=False)
        self.show(" ")
        self.shown = ""

    def show(self, text: str) -> None:
        text = printable(text)
        self.shown += text
        self.console.file.write(text)
        self.console.file.flush()

    def erase(self) -> None:
        """Take back what was shown of the reply; where that scrolled away, or is no terminal, begin on a new line."""
        size = self.console.size
        rows = rows_of(f"{ROLE_TAGS['assistant']} {self.shown}", size.width)
        if not self.console.is_terminal or rows >= size.height:
            self.console.file.write("\n")
        else:
            output = create_output(sys.stdout)
            output.cursor_up(rows - 1)
            output.write_raw("\r")
            output.erase_down()
            output.flush()
        self.shown = ""
        self.say_bot()


def new_console() -> Console:
    """Standard output, as rich writes to it."""
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


def show_table(console: Console, rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> None:
    """Print rows in columns; the last one is cut where the terminal is too narrow."""
    table = Table(*header, box=None, show_header=bool(header), pad_edge=False, header_style="bold")
    for row in rows:
        for _ in range(len(row) - len(table.columns)):
            table.add_column()
        table.add_row(*(printable(str(cell)) for cell in row))
    console.print(table)


def rows_of(text: str, width: int) -> int:
    """How many rows of a terminal of this width, in cells, the text takes."""
    rows, column = 1, 0
    for letter in text:
        cells = get_cwidth(letter)
        if letter == "\n" or column + cells > width:
            rows, column = rows + 1, 0
        column += 0 if letter == "\n" else cells
    return rows


def printable(text: str) -> str:
    """The text without what would command a terminal: of the control characters, only new lines and tabs stay."""
    return "".join(
        letter if letter in "\n\t" or unicodedata.category(letter) != "Cc" else "\ufffd" for letter in text
    ).replace("\t", "    ")


def key_bindings() -> KeyBindings:
    """Enter sends; Alt-Enter, or Escape and then Enter, begins a new line."""
    bindings = KeyBindings()

    @bindings.add("enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return bindings
