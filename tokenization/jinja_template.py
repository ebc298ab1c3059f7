"""
Chat templates of other programs: where a folder has one, and what it makes of a conversation. They are code from
anywhere, so they run in jinja's sandbox, with the few functions that transformers gives them.
"""

import datetime
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from runtime.errors import InputError
from runtime.json_file import read_json_if_there

Source = str | dict[str, Any]  # a template, or several by their names

# what a template may raise when it is run: its own refusals, and its mistakes
MISTAKES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, AssertionError)


def find(folder: str | Path) -> Source | None:
    """The chat template of a folder; None if it has none, or an empty one. Raises InputError for damaged files."""
    folder = Path(folder)
    path = folder / "chat_template.jinja"
    said = read_json_if_there(folder / "tokenizer_config.json").get("chat_template")
    if path.is_file():
        try:
            said = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not text in UTF-8 ({error})") from None
    if said is None or isinstance(said, str):
        return said if said and said.strip() else None
    if isinstance(said, list):
        said = {str(each.get("name")): each.get("template") for each in said if isinstance(each, dict)}
    return said if isinstance(said, dict) and said or said == {} else {str(said): said}


def rendered(source: Source | None, folder: str | Path, values: Mapping[str, Any]) -> str:
    """The text that the template makes. Raises InputError, which names the folder, if it cannot or will not."""
    import jinja2

    if isinstance(source, dict):
        names, source = sorted(source), source.get("default")
        if not isinstance(source, str):
            raise InputError(
                f"{folder}: its chat_template has no default among {', '.join(names)}; put the one to use "
                f"into {Path(folder, 'chat_template.jinja')}"
            )
    try:
        return compiled(source or "").render(
            {"tools": None, "documents": None, "add_generation_prompt": False, **values}
        )
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"{folder}: its chat template is broken, line {error.lineno}: {error.message}") from None
    except (jinja2.TemplateError, *MISTAKES) as error:
        hint = "; leave the system message out" if values["messages"][0]["role"] == "system" else ""
        raise InputError(f"{folder}: its chat template refuses this conversation ({error}){hint}") from None


@functools.lru_cache(8)
def compiled(source: str) -> Any:
    """A jinja2.Template, as transformers makes it."""
    import jinja2.ext
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """{% generation %} ... {% endgeneration %}, which marks the bot's words for those who train: it stays."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = as_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda format: datetime.datetime.now().strftime(format)
    return environment.from_string(source)


def as_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Jinja's own tojson escapes what HTML gives a meaning."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def refuse(message: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(message)
