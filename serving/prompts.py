"""What a request asks to be continued, as ids, and how much of the context is left for the reply."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from inference.engine import Engine
from runtime.errors import InputError
from serving.protocol import APIError, ChatRequest, CompletionRequest, Message
from tokenization.chat_format import without_lone_surrogates
from tokenization.chat_template import document
from tokenization.context import messages_in_view


class ParamName(Protocol):
    """The request's parameter that holds the messages, or one message's field: what an error names."""

    def __call__(self, index: int | None = None, field: str = "") -> str: ...


def chat_param(index: int | None = None, field: str = "") -> str:
    """As in a ChatRequest: "messages", or "messages.0.content"."""
    return "messages" if index is None else f"messages.{index}.{field}"


class ChatPrompt(NamedTuple):
    ids: list[int]
    max_new_tokens: int
    reply_ids: list[int]  # of what the bot has said in this chat
    continues: bool  # the last message is the bot's, and goes on


def chat_prompt(
    body: ChatRequest, engine: Engine, default_max_tokens: int, param_name: ParamName = chat_param
) -> ChatPrompt:
    """The prompt of a chat. param_name: how an error names the messages. Raises APIError."""
    template, block_size = engine.template, engine.block_size
    messages = plain_messages(body.messages, param_name)
    last = messages[-1]
    continues = last["role"] == "assistant"

    def prompt(view: list[dict[str, str]]) -> list[int]:
        if continues and view and view[-1] is last:
            begun = (id for id in template.reply(last["content"]) if id not in template.stop_token_ids)
            return [*template.prompt(view[:-1]), *begun]
        return template.prompt(view)

    wanted = body.max_completion_tokens or body.max_tokens
    if body.truncation == "auto":
        wanted = min(wanted or default_max_tokens, max(1, block_size - 2))
        n_reserved = min(wanted, block_size // 4)  # for the reply: more would leave too little of the chat
        try:
            ids = prompt(messages_in_view(messages, prompt, block_size - n_reserved))
        except InputError as error:
            raise APIError(400, str(error), param_name(), "context_length_exceeded") from None
        max_new_tokens = min(wanted, block_size - len(ids))
    else:
        try:
            ids = prompt(messages)
        except InputError as error:  # the folder's chat template takes no such conversation
            raise APIError(400, str(error), param_name(), "invalid_value") from None
        hint = ", or truncation: auto"
        max_new_tokens = reply_budget(len(ids), wanted, block_size, default_max_tokens, param_name(), hint)
    replies = [message["content"] for message in messages if message["role"] == "assistant"]
    reply_ids = [id for text in replies for id in engine.tokenizer.encode(" " + text)]
    return ChatPrompt(ids, max_new_tokens, reply_ids, continues)


def plain_messages(messages: list[Message], param_name: ParamName = chat_param) -> list[dict[str, str]]:
    """The messages as chat_format.py has them. Raises APIError: one is empty, or a system message is not the first."""
    plain = [message.plain() for message in messages]
    for i, message in enumerate(plain):
        if not message["content"].strip():
            raise APIError(400, "content must be text, and not empty", param_name(i, "content"), "invalid_value")
        if message["role"] == "system" and i:
            raise APIError(400, "the system message must come first", param_name(i, "role"), "invalid_value")
        message["content"] = without_lone_surrogates(message["content"])
    return plain


def text_prompts(body: CompletionRequest, engine: Engine, default_max_tokens: int) -> Iterator[tuple[list[int], int]]:
    """(ids, max_new_tokens) for each prompt of a completion. Raises APIError."""
    tokenizer = engine.tokenizer
    for prompt in body.prompts:
        if isinstance(prompt, str):
            ids = document(engine.template, without_lone_surrogates(prompt))
        else:
            ids = list(prompt)
            if not ids or not all(0 <= id < tokenizer.n_vocab for id in ids):
                raise APIError(400, f"prompt: ids go from 0 to {tokenizer.n_vocab - 1}", "prompt", "invalid_value")
        yield ids, reply_budget(len(ids), body.max_tokens, engine.block_size, default_max_tokens, "prompt")


def reply_budget(
    n_prompt: int, wanted: int | None, block_size: int, default_max_tokens: int, param: str, hint: str = ""
) -> int:
    """
    The tokens that a reply may have: `wanted`, or where that is None the default, as far as the context reaches.
    param: the parameter that holds the prompt. Raises APIError when the prompt, or what is wanted, does not fit.
    """
    if n_prompt >= block_size or wanted and n_prompt + wanted > block_size:
        n_reply = wanted or 1
        message = (
            f"this model's context is {block_size} tokens, and {n_prompt} of the {param} with {n_reply} of the reply "
            f"are {n_prompt + n_reply}; shorten either{hint}"
        )
        raise APIError(400, message, param, "context_length_exceeded")
    return wanted or min(default_max_tokens, block_size - n_prompt)
