"""Ollama's Modelfile: a GGUF file's chat template in Go's template language, what ends a reply, how it is sampled."""

from typing import Any

from tokenization.chat_template import BARRIER
from tokenization.special_tokens import END_OF_TURN, ENDOFTEXT, ROLE_TAGS

# generation_config.json's names -> Ollama's
PARAMETERS = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "repetition_penalty": "repeat_penalty"}


def modelfile(gguf: str, context: int, sampling: dict[str, Any], is_ours: bool) -> str:
    """
    The Modelfile of the GGUF file called `gguf` beside it. context: of how many tokens. sampling: the content of
    generation_config.json. is_ours: whether the model knows our tags; else there is no template, and Ollama takes the
    file's own if it knows that.
    """
    lines = [f"FROM ./{gguf}"]
    if is_ours:
        lines += [f'TEMPLATE """{go_template()}"""']
        lines += [f'PARAMETER stop "{text}"' for text in (END_OF_TURN, ENDOFTEXT)]
    lines += [f"PARAMETER num_ctx {context}"]
    lines += [f"PARAMETER {PARAMETERS[name]} {sampling[name]}" for name in PARAMETERS if is_number(sampling.get(name))]
    return "\n".join(lines) + "\n"


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def go_template() -> str:
    """
    chat_format.prompt as Ollama has it: .Messages in which neighbours of one role were joined, by an empty line, and
    nobody has a name. A reply that was begun is continued. The tags are written as constants of Go, since Ollama
    drops the BARRIER before them from a Modelfile.
    """
    start, end = constant(ENDOFTEXT), constant(END_OF_TURN)
    branches = [
        f'eq .Role "{role}" }}}}{{{{ {constant(tag)} }}}} {{{{ .Content }}}}' for role, tag in ROLE_TAGS.items()
    ]
    return (
        f"{{{{ {start} }}}}{{{{ range $i, $message := .Messages }}}}"
        "{{ $is_last := eq (len (slice $.Messages $i)) 1 }}"
        "{{ if " + "{{ else if ".join(branches) + "{{ end }}"
        '{{ if not (and $is_last (eq .Role "assistant")) }}{{ ' + end + " }}{{ end }}"
        '{{ if and $is_last (ne .Role "assistant") }}{{ ' + constant(ROLE_TAGS["assistant"]) + " }}{{ end }}"
        "{{ end }}"
    )


def constant(token: str) -> str:
    """A special token as the GGUF file spells it, as a constant of Go."""
    return f'"\\u{ord(BARRIER):04x}{token}"'
