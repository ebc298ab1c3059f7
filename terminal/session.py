"""One person at one terminal: the conversation, where it is shown, and where it is kept."""

import time
from collections.abc import Callable
from pathlib import Path

from inference.streaming import FinishReason
from runtime.errors import InputError
from serving.feedback import FeedbackFile, NoRoom
from terminal.conversation import Conversation, Display, Reply
from terminal.saved import SavedChat, write_private
from terminal.screen import Screen
from tokenization.chat_format import Message
from tokenization.special_tokens import ROLE_TAGS

# what is said behind a reply that a limit ended
CUT: dict[FinishReason | None, str] = {
    FinishReason.LENGTH: "cut; /continue goes on",
    FinishReason.CONTEXT: "cut; the context is full",
    FinishReason.INTERRUPTED: "stopped",
}
PATIENCE = 1.0  # seconds to wait for the model without a word


class Session:
    """
    keeps: whether the chat is saved as it goes. path, started: of the saved chat that goes on, where there is one.
    """

    def __init__(
        self,
        chat: Conversation,
        screen: Screen,
        model: str,
        keeps: bool = True,
        path: Path | None = None,
        started: int | None = None,
        feedback: FeedbackFile | None = None,
    ) -> None:
        self.chat = chat
        self.screen = screen
        self.model = model
        self.keeps = keeps
        self.file = SavedChat(model, path, started) if keeps else None
        self.feedback = feedback or FeedbackFile()
        self.notes: Path | None = None  # the file of what is remembered between chats, where there is one
        self.noted: list[str] = []  # the lines in that file
        self.ready: Callable[[float | None], bool] = lambda seconds: True  # waits so long for the model: is it there?
        self.since = time.monotonic()
        chat.keep = self.keep

    def begin(self, messages: list[Message], path: Path | None = None, started: int | None = None) -> None:
        """Another chat, which is saved in a file of its own; the one so far stays where it is."""
        self.chat.begin(messages)
        self.file = SavedChat(self.model, path, started) if self.keeps else None

    def reply(self, respond: Callable[[Display], Reply]) -> None:
        """Show the bot's next words as they come, then why they ended early. Raises InputError before any is shown."""
        if not self.ready(PATIENCE):
            self.screen.note("the model is still being opened")
            self.ready(None)
        with self.screen.reply() as display:
            reply = respond(display)
        cut = CUT.get(reply.reason)
        self.screen.say(f" ({cut})" if cut else "")

    def show_opening(self) -> None:
        """What the bot says first, where its persona has such a line."""
        if self.chat.messages[-1:] != [] and self.chat.messages[-1]["role"] == "assistant":
            self.screen.say(f"{ROLE_TAGS['assistant']} {self.chat.messages[-1]['content']}")

    def show_last(self) -> None:
        """The last exchange of a chat that goes on."""
        for message in self.chat.messages[-2:]:
            self.screen.say(f"{ROLE_TAGS[message['role']]} {message['content']}")

    def feed_back(self, index: int, message: str, **verdict: str) -> None:
        """Keep what the person thinks of the bot's message number `index`: a verdict, or how it should have been."""
        row = {"time": int(time.time()), "model": self.model, "conversation": self.chat.messages[:index]}
        try:
            self.feedback.append({**row, "message": message, **verdict})
        except NoRoom as error:
            raise InputError(str(error)) from None

    def keep(self) -> None:
        """Save the chat, if it is to be kept and anything was said in it, and what is remembered between chats."""
        try:
            if self.file and any(message["role"] == "user" for message in self.chat.messages):
                self.file.write(self.chat.messages)
            lines = [note.text for note in self.chat.memory.notes] if self.chat.memory else self.noted
            if self.notes and lines != self.noted:
                write_private(self.notes, "".join(line + "\n" for line in lines))
                self.noted = lines
        except OSError as error:
            self.screen.note(f"not saved: {error.filename}: {error.strerror}")
