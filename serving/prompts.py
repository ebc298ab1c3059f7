"""What a request asks to be continued, as ids, and how much of the context is left for the reply."""

from typing import NamedTuple, Protocol

from inference.engine import Engine
from memory.notes import Memory
from memory.view import View
from runtime.errors import InputError
from serving.errors import APIError
from serving.protocol import MAX_WINDOW, ChatRequest, CompletionRequest, MemoryRequest, Message, Notes
from serving.state import ServerState
from tokenization.chat_format import turns
from tokenization.chat_template import document
from tokenization.context import split_system


class ParamName(Protocol):
    """The request's parameter that holds the messages, or one message's field: what an error names."""

    def __call__(self, index: int | None = None, field: str = "") -> str: ...


def chat_param(index: int | None = None, field: str = "") -> str:
    """As in a ChatRequest: "messages", or "messages.0.content"."""
    return "messages" if index is None else f"messages.{index}.{field}"


class ChatPrompt(NamedTuple):
    ids: list[int]
    max_new_tokens: int
    reply_ids: list[int]  # the last MAX_WINDOW of what the bot has said in this chat
    continues: bool  # the last message is the bot's, and goes on
    n_dropped: int  # turns that the context had no room for


def chat_prompt(body: ChatRequest, server: ServerState, param_name: ParamName = chat_param) -> ChatPrompt:
    """The prompt of a chat. param_name: how an error names the messages. Raises APIError."""
    engine, default_max_tokens = server.engine, server.sampling.max_new_tokens
    template, block_size = engine.template, engine.block_size
    messages = plain_messages(body.messages, server.strict, param_name)
    last = messages[-1]
    continues = last["role"] == "assistant" == body.messages[-1].role and bool(body.messages[-1].text.strip())

    def prompt(view: list[dict[str, str]]) -> list[int]:
        if continues and view and view[-1] is last:
            begun = (id for id in template.reply(last["content"]) if id not in template.stop_token_ids)
            return [*template.prompt(view[:-1]), *begun]
        return template.prompt(view)

    wanted, start, memory = body.max_completion_tokens or body.max_tokens, 0, memory_of(body, server)
    if (body.truncation or server.truncation) == "auto":
        wanted = min(wanted or default_max_tokens, max(1, block_size - 2))
        n_reserved = min(wanted, block_size // 4)  # for the reply: more would leave too little of the chat
        try:
            shown = memory.view if memory else View()
            shown.start = n_left_out(messages, block_size)
            in_view = memory.in_view if memory else shown.of
            view = in_view(messages, prompt, block_size - n_reserved)
        except InputError as error:
            raise APIError(400, str(error), param_name(), "context_length_exceeded") from None
        ids, start = prompt(view), shown.start
        max_new_tokens = min(wanted, block_size - len(ids))
    else:
        if body.memory:
            raise APIError(400, "memory needs truncation: auto", "memory", "invalid_value")
        try:
            ids = prompt(messages)
        except InputError as error:  # the folder's chat template takes no such conversation
            raise APIError(400, str(error), param_name(), "invalid_value") from None
        hint = ", or truncation: auto"
        max_new_tokens = reply_budget(len(ids), wanted, block_size, default_max_tokens, param_name(), hint)
    talk = split_system(messages)[1]
    n_dropped = len(turns(talk)) - len(turns(talk[start:]))
    return ChatPrompt(ids, max_new_tokens, last_reply_ids(messages, engine), continues, n_dropped)


def last_reply_ids(messages: list[dict[str, str]], engine: Engine) -> list[int]:
    """The last ids of what the bot has said, as many as a penalty may look at, and some."""
    spoken: list[list[int]] = []
    for message in reversed(messages):
        if message["role"] == "assistant" and sum(map(len, spoken)) < MAX_WINDOW:
            spoken.append(engine.tokenizer.encode(" " + message["content"]))
    return [id for ids in reversed(spoken) for id in ids][-MAX_WINDOW:]


def plain_messages(messages: list[Message], strict: bool, param_name: ParamName = chat_param) -> list[dict[str, str]]:
    """
    The messages as chat_format.py has them, without those that are empty. All system messages become one, the first:
    the model was never taught another place. Raises APIError where nothing is left; where it is strict, also for an
    empty message, and a system message that is not the first.
    """
    plain = [message.plain() for message in messages]
    for i, message in enumerate(plain if strict else ()):
        if not message["content"].strip():
            raise APIError(400, "content must be text, and not empty", param_name(i, "content"), "invalid_value")
        if message["role"] == "system" and i:
            raise APIError(400, "the system message must come first", param_name(i, "role"), "invalid_value")
    plain = [message for message in plain if message["content"].strip()]
    if not plain:
        message = "there is nothing to answer: all messages are empty"
        raise APIError(400, message, param_name(0, "content"), "invalid_value")
    personas = [message["content"] for message in plain if message["role"] == "system"]
    system = [{"role": "system", "content": "\n".join(personas)}] if personas else []
    return system + [message for message in plain if message["role"] != "system"]


def n_left_out(messages: list[dict[str, str]], block_size: int) -> int:
    """
    How many of the messages after the system's need no look, as they are many more than the context can hold, in which
    each takes a token at least. They are left out block_size at a time, so that the view seldom moves.
    """
    n_dropped = max(0, len(messages) // block_size - 1) * block_size
    return max(0, n_dropped - (messages[0]["role"] == "system"))


def memory_of(body: ChatRequest, server: ServerState) -> Memory | None:
    """The memory that a chat is to have, before it has read the chat; None: none."""
    wanted = server.memory if body.memory is None else body.memory
    if isinstance(wanted, Notes):
        return Memory(wanted.notes, wanted.forgotten)
    return Memory() if wanted else None


def read_memory(body: MemoryRequest) -> Memory:
    """The memory of a chat, which it has read."""
    memory = Memory(body.memory.notes, body.memory.forgotten)
    plain = (message.plain() for message in body.messages if message.text.strip())
    memory.read([message for message in plain if message["role"] != "system"])
    return memory


def text_prompts(body: CompletionRequest, server: ServerState) -> list[tuple[list[int], int]]:
    """(ids, max_new_tokens) for each prompt of a completion. Raises APIError."""
    engine, default_max_tokens = server.engine, server.sampling.max_new_tokens
    tokenizer, prompts = engine.tokenizer, []
    for prompt in body.prompts:
        if isinstance(prompt, str):
            ids = document(engine.template, prompt)
        else:
            ids = list(prompt)
            if not ids or not all(0 <= id < tokenizer.n_vocab for id in ids):
                raise APIError(400, f"prompt: ids go from 0 to {tokenizer.n_vocab - 1}", "prompt", "invalid_value")
        if body.max_tokens == 0 and len(ids) <= engine.block_size:
            prompts.append((ids, 1))  # the engine draws one, which is not shown
            continue
        wanted, room = body.max_tokens, engine.block_size - len(ids)
        if server.truncation == "auto" and wanted and room > 0:
            wanted = min(wanted, room)
        budget = reply_budget(len(ids), wanted, engine.block_size, default_max_tokens, "prompt")
        prompts.append((ids, budget))
    return prompts


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
