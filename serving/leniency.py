"""
What popular programs send beside OpenAI's parameters, and what becomes of it: a request is served wherever that loses
nothing, and refused by name where it asks for what this model cannot do.

    body = lenient(body, known={"messages", "temperature"}, ignored=log_once)

A null asks for nothing. What is spelled in another way is translated (ALIASES, OFF), what happens anyway or can have no
effect is left out, and the rest is refused by `refuse_unsupported`, which --strict keeps too.
"""

from collections.abc import Callable, Collection
from typing import Any

from serving.errors import APIError
from serving.protocol import MAX_WINDOW

ALIASES = {
    "repeat_penalty": "repetition_penalty",
    "repeat_last_n": "penalty_window",
    "typ_p": "typical_p",
    "typical": "typical_p",
    "no_repeat_ngram_size": "no_repeat_ngram",
    "n_predict": "max_tokens",
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
}
# what a parameter is when it is this: None leaves it out
OFF: dict[str, dict[Any, Any]] = {
    "top_k": {0: 10**9, -1: 10**9},  # all tokens, also where the server's own setting is another
    "top_p": {0: 1e-9},  # the likeliest token
    "typical_p": {0: 1.0},
    "max_tokens": {-1: None},  # as long as it goes
    "max_completion_tokens": {-1: None},
    "max_output_tokens": {-1: None},
    "penalty_window": {-1: MAX_WINDOW},  # the whole context
    "best_of": {1: None},
}
# what cannot be done: the values that ask for nothing, or for what happens anyway
NOTHING = (None, False, 0, "", [], {})
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("tools", "functions", "suffix", "audio", "images", "n_probs"), NOTHING),
    **dict.fromkeys(("grammar", "json_schema", "structured_outputs", "conversation"), NOTHING),
    **dict.fromkeys(("guided_json", "guided_regex", "guided_choice", "guided_grammar"), NOTHING),
    **dict.fromkeys(("prompt_embeds", "logits_processors", "negative_prompt", "background"), NOTHING),
    **dict.fromkeys(("function_call", "tool_choice"), (*NOTHING, "none", "auto")),
    **dict.fromkeys(("use_beam_search", "add_special_tokens", "mirostat", "mirostat_mode"), NOTHING),
    **dict.fromkeys(("skip_special_tokens", "add_generation_prompt"), (None, True, 1)),
    **dict.fromkeys(("length_penalty", "num_beams", "tfs", "tfs_z", "cfg_scale", "guidance_scale"), (*NOTHING, 1)),
    **dict.fromkeys(("xtc_probability", "dynatemp_range", "top_a", "smoothing_factor", "penalty_alpha"), NOTHING),
    **dict.fromkeys(("epsilon_cutoff", "eta_cutoff", "top_n_sigma"), (*NOTHING, -1)),
    "modalities": (*NOTHING, ["text"]),
    "include": NOTHING,
}
BUT_FOR = {"function_call": "auto and none", "tool_choice": "auto and none", "modalities": "text"}
BUT_FOR |= {"skip_special_tokens": "true", "add_generation_prompt": "true"}
ELSEWHERE = ("echo", "prompt", "previous_response_id")  # of other endpoints: they change what the answer is
PLURAL = {"tools", "functions", "images", "logits_processors", "prompt_embeds", "structured_outputs"}
LOGPROBS = "message.output_text.logprobs"  # the only thing to include in a response that this model has


def holds(values: tuple[Any, ...], value: Any) -> bool:
    """Whether the value is one of these; 0 and False are one."""
    return any(value == other for other in values)


def refuse_unsupported(body: Any) -> None:
    """Raise APIError where a request asks for what cannot be done here."""
    if not isinstance(body, dict):
        return
    for name in (name for name in UNSUPPORTED if name in body):  # in this order: tools before their choice
        value = body[name]
        if not holds(UNSUPPORTED[name], value) and not is_moot(name, value):
            verb, but = "are" if name in PLURAL else "is", f", but for {BUT_FOR[name]}" if name in BUT_FOR else ""
            raise unsupported(name, f"{name} {verb} not supported{but}")
    for path in ("response_format",), ("text", "format"):
        asked: Any = body
        for name in path:
            asked = asked.get(name) if isinstance(asked, dict) else None
        if isinstance(asked, dict) and asked.get("type", "text") != "text":
            name, kind = ".".join(path), str(asked["type"])[:40]
            raise unsupported(f"{name}.type", f"{name}: {kind} is not supported, only text")


def is_moot(name: str, value: Any) -> bool:
    """Whether a list asks for nothing that there is: OpenAI's `include` has things of tools and of reasoning."""
    return name == "include" and isinstance(value, list) and LOGPROBS not in value


def unsupported(param: str, message: str) -> APIError:
    return APIError(400, message, param, "unsupported_parameter")


def lenient(body: Any, known: Collection[str], ignored: Callable[[str], object]) -> Any:
    """
    The request with nothing but what the endpoint knows. known: the names of its parameters; ignored: called with each
    name that is left out, but for nulls. Raises APIError.
    """
    if not isinstance(body, dict):
        return body
    kept: dict[str, Any] = {}
    for name, value in body.items():
        target = str(ALIASES.get(name, name))
        if value is None or target != name and target in body:
            continue
        if target in known and name not in UNSUPPORTED:
            kept[target] = value
        elif name in ELSEWHERE and value:
            raise unsupported(name, f"{name} is not supported here")
        elif name not in UNSUPPORTED:  # what is there asks for nothing
            ignored(name)
    for name in kept.keys() & OFF.keys():
        if isinstance(kept[name], int | float):
            kept[name] = next((new for old, new in OFF[name].items() if kept[name] == old), kept[name])
    if kept.get("logprobs") is False:  # of a completion it is a number, and 0 is one
        del kept["logprobs"]
    kept = {name: value for name, value in kept.items() if value is not None}
    if kept.get("dry_multiplier") == 0:
        kept = {name: value for name, value in kept.items() if name not in ("dry_base", "dry_allowed_length")}
    if "stop" in kept:
        kept["stop"] = without_empty(kept["stop"])
    for name in ("messages", "input"):
        if isinstance(kept.get(name), list):
            items = [message(item, f"{name}.{i}", ignored) for i, item in enumerate(kept[name])]
            kept[name] = [item for item in items if item is not None]
    options = kept.get("stream_options")
    if isinstance(options, dict):
        wanted = ("include_usage", "continuous_usage_stats")
        kept["stream_options"] = {key: value for key, value in options.items() if key in wanted and value is not None}
    if not kept.get("stream"):
        kept.pop("stream_options", None)
    return kept


def without_empty(stop: Any) -> Any:
    """Stop words without those that are empty, which ask for nothing."""
    return [word for word in stop if word not in ("", None)] if isinstance(stop, list) else stop or []


def message(item: Any, param: str, ignored: Callable[[str], object]) -> Any:
    """A message's role, content and name; None for an item of /v1/responses that says nothing. Raises APIError."""
    if not isinstance(item, dict):
        return item
    kind, role = item.get("type"), item.get("role")
    if kind == "reasoning":
        return None
    if kind == "item_reference":
        return {"type": kind, "id": item.get("id")}
    if isinstance(kind, str) and "role" not in item and kind != "message":
        raise unsupported(f"{param}.type", f"{kind[:40]} items are not supported")
    if role in ("tool", "function"):
        raise unsupported(f"{param}.role", f"{role} messages are not supported")
    for name in ("tool_calls", "function_call", "audio"):
        if item.get(name):
            raise unsupported(f"{param}.{name}", f"{name} of a message cannot be read here")
    for name in item.keys() - {"role", "content", "name", "type"}:
        if item[name]:
            ignored(f"messages.{name}")
    content = item.get("content")
    kept = {"role": role, "name": item.get("name") or None, "content": "" if content is None else content}
    if isinstance(content, list):
        kept["content"] = [part(each, f"{param}.content.{i}") for i, each in enumerate(content)]
    return {name: value for name, value in kept.items() if value is not None}


def part(item: Any, param: str) -> Any:
    """A part of a message's content, as text. Raises APIError."""
    if isinstance(item, str):
        return {"type": "text", "text": item}
    if not isinstance(item, dict):
        return item
    kind = item.get("type", "text")
    text = item.get("refusal" if kind == "refusal" else "text")
    if kind not in ("text", "input_text", "output_text", "refusal"):
        raise unsupported(f"{param}.type", f"{str(kind)[:40]} is not supported: this model reads text only")
    return {"type": "text", "text": "" if text is None else text} if "text" in item or text else item


def logged_once(log: Callable[[str], object], most: int = 200) -> Callable[[str], None]:
    """A function that logs a name the first time, and no more than so many names."""
    seen: set[str] = set()

    def note(name: str) -> None:
        if name not in seen and len(seen) < most:
            seen.add(name)
            log(f"ignored from now on, as it changes nothing here: {name[:60]!r}")

    return note
