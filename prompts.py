"""
What a request asks to be continued, as ids, and how much of the context is left for the reply. Raises Refused.
"""

from configurator import InputError
from conversation import unicode
from memory import in_view
from protocol import Refused


def room(n, wanted, block_size, usual, param, hint=""):
    """The tokens of a reply behind n of a prompt: `wanted`, or `usual` where nothing is asked. Raises Refused."""
    if n >= block_size or wanted and n + wanted > block_size:
        message = (
            f"this model's context is {block_size} tokens, and {n} of the {param} with {wanted or 1} of the reply are "
            f"{n + (wanted or 1)}; shorten either{hint}"
        )
        raise Refused(400, message, param, "context_length_exceeded")
    return wanted or min(usual, block_size - n)


def chat(body, speaker, usual):
    """(ids, tokens that the reply may have, ids that the bot has said, whether its last message goes on)."""
    rendering, block_size = speaker.rendering, speaker.block_size
    messages = [message.plain() for message in body.messages]
    for i, message in enumerate(messages):
        if not message["content"].strip():
            raise Refused(400, "content must be text, and not empty", f"messages.{i}.content", "invalid_value")
        if message["role"] == "system" and i:
            raise Refused(400, "the system message must come first", f"messages.{i}.role", "invalid_value")
        message["content"] = unicode(message["content"])
    last = messages[-1]
    continued = last["role"] == "assistant"
    begun = [id for id in rendering.reply(last["content"]) if id not in rendering.ends] if continued else []

    def prompt(view):
        if continued and view and view[-1] is last:
            return rendering.prompt(view[:-1]) + begun
        return rendering.prompt(view)

    wanted = body.max_completion_tokens or body.max_tokens
    if body.truncation == "auto":
        wanted = min(wanted or usual, max(1, block_size - 2))
        try:
            ids = prompt(in_view(messages, prompt, block_size - min(wanted, block_size // 4)))
        except InputError as error:
            raise Refused(400, str(error), "messages", "context_length_exceeded") from None
        wanted = min(wanted, block_size - len(ids))
    else:
        ids = prompt(messages)
        wanted = room(len(ids), wanted, block_size, usual, "messages", ", or truncation: auto")
    spoken = [m["content"] for m in messages if m["role"] == "assistant"]
    return ids, wanted, [id for text in spoken for id in speaker.tokenizer.encode(" " + text)], continued


def texts(body, speaker, usual):
    """Yield (ids, tokens that may follow) for each prompt of a completion."""
    tokenizer = speaker.tokenizer
    for prompt in body.prompts:
        if isinstance(prompt, str):
            ids = [tokenizer.endoftext, *tokenizer.encode(unicode(prompt))]
        else:
            ids = list(prompt)
            if not ids or not all(0 <= id < tokenizer.n_vocab for id in ids):
                raise Refused(400, f"prompt: ids go from 0 to {tokenizer.n_vocab - 1}", "prompt", "invalid_value")
        yield ids, room(len(ids), body.max_tokens, speaker.block_size, usual, "prompt")
