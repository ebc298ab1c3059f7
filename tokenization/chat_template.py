"""
How a model is spoken to. Ours were taught the tags of conversation.py; a folder with a chat template of its own
(DialoGPT, say) is rendered by it; any other GPT-2 gets a conversation as plain text, a line a turn.

    template = rendering_of(folder, tokenizer, chat)
    ids, supervised = template.render(messages)       # what to score
    ids = template.prompt(messages)                   # what to continue
"""

import json
from pathlib import Path

from runtime.errors import InputError
from tokenization import chat_format
from tokenization.chat_format import ROLES


class ChatTags:
    """Our own tags. All renderings have ends (ids that end a reply), banned (ids never said) and n_vocab."""

    name = "tags"

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.stop_token_ids = (tokenizer.end_of_turn, tokenizer.endoftext)
        self.suppress_tokens = (tokenizer.system, tokenizer.human, tokenizer.bot)  # nobody else's turn
        self.n_vocab = tokenizer.n_vocab

    def render(self, messages):
        """(ids, supervised), lists of equal length: 1 on the bot's words and on what ends them."""
        return chat_format.render(messages, self.tokenizer)

    def prompt(self, messages):
        """The ids after which the bot's reply comes."""
        return chat_format.prompt(messages, self.tokenizer)

    def reply(self, text):
        """The ids that say `text` behind a prompt, and end it."""
        return [*self.tokenizer.encode(" " + text), self.tokenizer.end_of_turn]


class PlainText:
    """For a GPT-2 that was never taught to chat: [Human]: and [Bot]: in letters, a line a turn; a newline ends it."""

    name = "plain text"

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.n_vocab = tokenizer.n_given  # the tags' rows stand for nothing in this model
        self.suppress_tokens = tuple(range(self.n_vocab, tokenizer.n_vocab))
        newlines = (id for id, letters in tokenizer.bytes.items() if letters.strip() == b"" and b"\n" in letters)
        self.stop_token_ids = (tokenizer.endoftext, *(id for id in newlines if id < self.n_vocab))
        self.newline = tokenizer.encode("\n")

    def render(self, messages):
        ids, supervised = [self.tokenizer.endoftext], [0]
        for role, text in chat_format.turns(messages):
            tag, words = self.tokenizer.encode(ROLES[role]), self.reply(text)
            ids += tag + words
            supervised += [0] * len(tag) + [int(role == "assistant")] * len(words)
        return ids, supervised

    def prompt(self, messages):
        return self.render(messages)[0] + self.tokenizer.encode(ROLES["assistant"])

    def reply(self, text):
        return self.tokenizer.encode(" " + " ".join(text.splitlines())) + self.newline


class FolderTemplate:
    """The chat template in the folder's tokenizer_config.json, run by transformers."""

    name = "its own template"

    def __init__(self, tokenizer, folder):
        from transformers import AutoTokenizer

        self.tokenizer = tokenizer
        self.theirs = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.n_vocab = tokenizer.n_given
        self.suppress_tokens = tuple(range(self.n_vocab, tokenizer.n_vocab))
        ends = [tokenizer.endoftext, self.theirs.eos_token_id]
        self.stop_token_ids = tuple(dict.fromkeys(id for id in ends if id is not None and id < self.n_vocab))

    def ids(self, messages, **options):
        content = [{"role": role, "content": text} for role, text in chat_format.turns(messages)]
        return self.theirs.apply_chat_template(content, return_dict=False, **options) if content else []

    def render(self, messages):
        ids, supervised = [], []
        for i, message in enumerate(messages):
            until = self.ids(messages[: i + 1])
            if until[: len(ids)] != ids:
                raise InputError("the folder's chat template rewrites earlier turns; it cannot be scored word by word")
            if message["role"] == "assistant":
                silent = max(len(self.prompt(messages[:i])), len(ids))
                supervised += [0] * (silent - len(ids))
            supervised += [int(message["role"] == "assistant")] * (len(until) - len(supervised))
            ids = until
        return ids, supervised

    def prompt(self, messages):
        return self.ids(messages, add_generation_prompt=True)

    def reply(self, text):
        asked = [{"role": "user", "content": "hi"}]
        return self.ids([*asked, {"role": "assistant", "content": text}])[len(self.prompt(asked)) :]


def template_for(folder, tokenizer, chat):
    """The template for a model that was loaded from `folder`; chat: its chat.json's content, {} if another made it."""
    if chat:
        return ChatTags(tokenizer)
    path = Path(folder) / "tokenizer_config.json"
    if (Path(folder) / "chat_template.jinja").exists():
        return FolderTemplate(tokenizer, folder)
    if path.exists() and "chat_template" in json.loads(path.read_text(encoding="utf-8")):
        return FolderTemplate(tokenizer, folder)
    return PlainText(tokenizer)


# The render of conversation.py for other programs. A tag typed by a person is taken apart, since they would encode it
# as the tag's id; that is the one case in which their ids differ from ours.
JINJA_TEMPLATE = (
    "{%- set tags = {'system': '[System]:', 'user': '[Human]:', 'assistant': '[Bot]:'} -%}"
    "{%- set turn = namespace(speaker=none) -%}"
    "{{- '<|endoftext|>' -}}"
    "{%- for message in messages -%}"
    "{%- set name = message['name'] | default(none) if message['role'] == 'user' else none -%}"
    "{%- set starts = [message['role'], name] != turn.speaker -%}"
    "{%- set text = (name ~ ': ' if name and starts else '') ~ message['content'] | trim -%}"
    "{%- set text = text | replace('[System]:', '[System] :') | replace('[Human]:', '[Human] :')"
    " | replace('[Bot]:', '[Bot] :') | replace('<|end', '<| end') -%}"
    "{{- ('' if loop.first else '<|endofturn|>') ~ tags[message['role']] ~ ' ' ~ text if starts else '\n' ~ text -}}"
    "{%- set turn.speaker = [message['role'], name] -%}"
    "{%- endfor -%}"
    "{{- '<|endofturn|>' if messages else '' -}}"
    "{{- '[Bot]:' if add_generation_prompt else '' -}}"
)
