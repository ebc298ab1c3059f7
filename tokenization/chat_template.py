"""
Chat templates: how the messages of a conversation are spelled for a model. A model of ours was taught the tags of
chat_format.py; a folder that brings its own chat template (DialoGPT's, say) is rendered by it; for any other GPT-2 the
conversation is plain text, one line for each turn.

    template = template_for(folder, tokenizer, chat)
    ids, supervised = template.render(messages)       # what to score
    ids = template.prompt(messages)                   # what to continue
"""

from pathlib import Path
from typing import Any, Protocol

from runtime.errors import InputError
from tokenization import chat_format, jinja_template
from tokenization.added_tokens import named_tokens
from tokenization.chat_format import Message
from tokenization.end_tokens import end_token_ids, opening_ids
from tokenization.special_tokens import BARRIER, END_OF_TURN, ENDOFTEXT, ROLE_TAGS
from tokenization.tokenizer import Tokenizer


class ChatTemplate(Protocol):
    """What the engine and the evaluation need to speak to a model."""

    name: str  # as reports print it
    tokenizer: Tokenizer
    n_vocab: int  # ids from here on were never taught to the model
    stop_token_ids: tuple[int, ...]  # any of these ends a reply
    suppress_tokens: tuple[int, ...]  # these are never sampled in a reply
    opening: tuple[int, ...]  # what a document begins with
    document_stop_ids: tuple[int, ...]  # any of these ends a document
    untrained: tuple[int, ...]  # these are never sampled at all

    def render(self, messages: list[Message]) -> tuple[list[int], list[int]]:
        """
        (ids, supervised), lists of equal length; supervised is 1 on the bot's words and on what ends them.
        Raises InputError where the template cannot tell which ids are the bot's.
        """
        ...

    def prompt(self, messages: list[Message]) -> list[int]:
        """The ids that the bot's reply to `messages` follows."""
        ...

    def reply(self, text: str) -> list[int]:
        """The ids that say `text` after a prompt, and end it."""
        ...


def document(template: ChatTemplate, text: str) -> list[int]:
    """The ids of the beginning of a document, at least one. GPT-2 saw each document behind <|endoftext|>."""
    tokenizer = template.tokenizer
    return [*template.opening, *tokenizer.encode(text)] or tokenizer.encode("\n") or [0]


class ChatTags:
    """The template of our own models: the tags of chat_format.py, each a token."""

    name = "tags"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.stop_token_ids = (tokenizer.end_of_turn, tokenizer.endoftext)
        self.suppress_tokens = (tokenizer.system, tokenizer.human, tokenizer.bot)  # the bot opens nobody's turn
        self.n_vocab = tokenizer.n_vocab
        self.opening = self.document_stop_ids = (tokenizer.endoftext,)
        self.untrained = ()

    def render(self, messages: list[Message]) -> tuple[list[int], list[int]]:
        return chat_format.render(messages, self.tokenizer)

    def prompt(self, messages: list[Message]) -> list[int]:
        return chat_format.prompt(messages, self.tokenizer)

    def reply(self, text: str) -> list[int]:
        return [*self.tokenizer.encode(" " + text), self.tokenizer.end_of_turn]


class ForeignTemplate:
    """What the templates have in common of models that were never taught our tags. folder: where theirs are said."""

    def __init__(self, tokenizer: Tokenizer, folder: str | Path | None = None) -> None:
        self.tokenizer = tokenizer
        self.n_vocab = tokenizer.n_base_vocab
        self.suppress_tokens = self.untrained = tokenizer.untrained
        self.opening = opening_ids(tokenizer, folder)
        self.stop_token_ids = self.document_stop_ids = end_token_ids(tokenizer, folder)


class PlainText(ForeignTemplate):
    """For a GPT-2 that was never taught to chat: a line for each turn, the tags as letters; a newline ends a reply."""

    name = "plain text"

    def __init__(self, tokenizer: Tokenizer, folder: str | Path | None = None) -> None:
        super().__init__(tokenizer, folder)
        newlines = (i for i, letters in tokenizer.bytes.items() if letters.strip() == b"" and b"\n" in letters)
        self.stop_token_ids = (*self.document_stop_ids, *(i for i in newlines if i < self.n_vocab))
        self.newline = tokenizer.encode("\n")

    def render(self, messages: list[Message]) -> tuple[list[int], list[int]]:
        ids, supervised = list(self.opening), [0] * len(self.opening)
        for role, text in chat_format.turns(messages):
            tag, words = self.tokenizer.encode(ROLE_TAGS[role]), self.reply(text)
            ids += tag + words
            supervised += [0] * len(tag) + [int(role == "assistant")] * len(words)
        return ids, supervised

    def prompt(self, messages: list[Message]) -> list[int]:
        return self.render(messages)[0] + self.tokenizer.encode(ROLE_TAGS["assistant"])

    def reply(self, text: str) -> list[int]:
        return self.tokenizer.encode(" " + " ".join(text.splitlines())) + self.newline


class FolderTemplate(ForeignTemplate):
    """
    The chat template in a folder's tokenizer_config.json or chat_template.jinja. Whatever it makes of a conversation,
    nobody's text becomes a special token. A template that is broken, or refuses a conversation (many take no system
    message), raises InputError where it is used.
    """

    name = "its own template"

    def __init__(self, tokenizer: Tokenizer, folder: str | Path) -> None:
        super().__init__(tokenizer, folder)
        self.folder = folder
        self.source = jinja_template.find(folder)
        self.names = named_tokens(folder)

    def apply(self, messages: list[Message], **options: Any) -> list[int]:
        """The ids that transformers' apply_chat_template gives for the turns of `messages`."""
        content = [{"role": role, "content": self.as_letters(text)} for role, text in chat_format.turns(messages)]
        if not content:
            return []
        text = jinja_template.rendered(self.source, self.folder, {"messages": content, **self.names, **options})
        return self.tokenizer.encode_rendered(text, BARRIER)

    def as_letters(self, text: str) -> str:
        """The text with a barrier in each special token that it spells."""
        pieces = self.tokenizer.special_pattern.split(text.replace(BARRIER, ""))
        return "".join(piece[:1] + BARRIER + piece[1:] if i % 2 else piece for i, piece in enumerate(pieces))

    def render(self, messages: list[Message]) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        supervised: list[int] = []
        for i, message in enumerate(messages):
            longer = self.apply(messages[: i + 1])
            if longer[: len(ids)] != ids:
                raise InputError("the folder's chat template rewrites earlier turns; it cannot be scored word by word")
            if message["role"] == "assistant":
                n_prompt = max(len(self.prompt(messages[:i])), len(ids))
                supervised += [0] * (n_prompt - len(ids))
            supervised += [int(message["role"] == "assistant")] * (len(longer) - len(supervised))
            ids = longer
        return ids, supervised

    def prompt(self, messages: list[Message]) -> list[int]:
        ids = self.apply(messages, add_generation_prompt=True)
        if messages and not ids:
            raise InputError(f"{self.folder}: its chat template makes nothing of a conversation")
        return ids

    def reply(self, text: str) -> list[int]:
        question = {"role": "user", "content": "hi"}  # templates do not render a reply alone
        return self.apply([question, {"role": "assistant", "content": text}])[len(self.prompt([question])) :]


def template_for(folder: str | Path, tokenizer: Tokenizer, chat: dict[str, Any]) -> ChatTemplate:
    """
    The template for a model that was loaded from `folder`.
    chat: the content of its chat.json, which every model of ours has; {} for a model that another program made.
    """
    if chat:
        return ChatTags(tokenizer)
    if jinja_template.find(folder):
        return FolderTemplate(tokenizer, folder)
    return PlainText(tokenizer, folder)


def jinja_source(mark: str = "") -> str:
    """
    chat_format.render for other programs, as Jinja. mark: what their vocabulary spells before each special token, which
    no text may hold; a tag that a person typed is letters then, as here. Without one they would take it for the tag's
    id, so a barrier is put into it, which the normalizer of our tokenizer.json takes out again.
    """
    parted = "".join(f" | replace('{tag}', '{tag[:-1]}{BARRIER}:')" for tag in ROLE_TAGS.values())
    parted += f" | replace('<|', '<{BARRIER}|')"
    tags = {role: mark + tag for role, tag in ROLE_TAGS.items()}
    # letter by letter: repr would escape the mark, and llama.cpp's own Jinja knows no escape of that kind
    listed = ", ".join(f"'{role}': '{tag}'" for role, tag in tags.items())
    return (
        "{%- set tags = {" + listed + "} -%}"
        "{%- set turn = namespace(speaker=none) -%}"
        "{{- '" + mark + ENDOFTEXT + "' -}}"
        "{%- for message in messages -%}"
        "{%- set name = message['name'] | default(none) if message['role'] == 'user' else none -%}"
        "{%- set starts = [message['role'], name] != turn.speaker -%}"
        "{%- set text = (name ~ ': ' if name and starts else '') ~ message['content'] | trim -%}"
        "{%- set text = text" + (f" | replace('{mark}', '')" if mark else parted) + " -%}"
        "{{- ('' if loop.first else '" + mark + END_OF_TURN + "')"
        " ~ tags[message['role']] ~ ' ' ~ text if starts else '\n' ~ text -}}"
        "{%- set turn.speaker = [message['role'], name] -%}"
        "{%- endfor -%}"
        "{{- '" + mark + END_OF_TURN + "' if messages else '' -}}"
        "{{- '" + tags["assistant"] + "' if add_generation_prompt else '' -}}"
    )


JINJA_TEMPLATE = jinja_source()
