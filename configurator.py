"""
Settings: a dataclass, then config files, then flags, into one typed and checked object.

    $ python train.py config/finetune_chat.py --batch_size=32
    $ python train.py --help

A config file is `name = value` lines: it is parsed, never executed. A value is a literal, arithmetic on literals, or a
name set above; a name that begins with an underscore is the file's own. Flags beat files, wherever they stand. A
field's trailing comment is its help.

A field is an int, float, bool, str, Literal, None or a union of these, or collects several values:

    stop: tuple[str, ...] = ()                      --stop=bye --stop="see you"         stop = ["bye", "see you"]
    logit_bias: dict[int, float] = field(...)       --logit_bias=198:-100               logit_bias = {198: -100}

A class may have `old_names`, what its settings are called elsewhere: name -> a field, or the end of a sentence.

NANOCHATGPT_DEBUG=1 in the environment shows the traceback of an error as well.
"""

import ast
import contextlib
import dataclasses
import inspect
import io
import math
import operator
import os
import sys
import tokenize
import traceback
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from runtime.errors import InputError, did_you_mean

Settings = TypeVar("Settings")  # a dataclass of the settings of one script
ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


Remembered = Callable[[Mapping[str, Any]], Mapping[str, Any]]  # settings that were given -> others, of an earlier run


def main(script: Callable[[Settings], object], settings: type[Settings], remembered: Remembered | None = None) -> None:
    """Run `script(load(settings))` and turn every expected failure into one line and exit status 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a letter shows a ? in its place
    try:
        script(load(settings, remembered=remembered))
    except InputError as error:
        quit_with(str(error))
    except BrokenPipeError:  # `python sample.py | head`: the reader has seen enough
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:  # a full disk, a missing right
        quit_with(f"{error.filename or 'input or output'}: {error.strerror or error}")
    except MemoryError:
        quit_with("there is not enough memory; a smaller model, batch or context would do")
    except KeyboardInterrupt:
        show_traceback()
        print("\nstopped", file=sys.stderr)
        sys.exit(130)


def quit_with(message: str) -> NoReturn:
    """End the process with one line on standard error and exit status 2."""
    sys.stdout.flush()
    show_traceback()
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)


def show_traceback() -> None:
    """Print where the exception that is being handled was raised, if NANOCHATGPT_DEBUG=1 asks for it."""
    if os.environ.get("NANOCHATGPT_DEBUG", "0") not in ("", "0"):
        traceback.print_exc()


def load(settings: type[Settings], argv: list[str] | None = None, remembered: Remembered | None = None) -> Settings:
    """
    An instance of the dataclass `settings`, from `argv` (default: the command line). remembered: gives settings that
    hold in place of the defaults, where argv is silent; those that the class has not are passed over.
    Raises InputError, with file and line number where there is one. `--help` prints the fields and exits with 0.
    """
    argv = sys.argv[1:] if argv is None else argv
    if "--help" in argv or "-h" in argv:
        print(help_text(settings))
        sys.exit(0)
    hints = typing.get_type_hints(settings)
    values = {}
    names = {}
    old_names: Mapping[str, str] = getattr(settings, "old_names", {})
    for path in (word for word in argv if not word.startswith("--")):
        names = parse_file(path, hints, names, old_names)
        values.update({name: value for name, value in names.items() if not name.startswith("_")})
    flags = {}
    for word in (word for word in argv if word.startswith("--")):
        name, given, text = word[2:].partition("=")
        check_name(name, hints, word, old_names)
        if not given and bool not in union_members(hints[name]):
            raise InputError(f"{word}: write {word}=VALUE, without spaces")
        value = parse_text(text if given else "true", hints[name], f"--{name}")
        if name in flags and isinstance(value, tuple):
            value = flags[name] + value
        elif name in flags and isinstance(value, dict):
            value = flags[name] | value
        flags[name] = value
    values.update(flags)
    if remembered:
        earlier = {name: value for name, value in remembered(values).items() if name in hints}
        checked = {
            name: check_value(value, hints[name], f"{name} of the earlier run") for name, value in earlier.items()
        }
        values = {**checked, **values}
    for field in dataclasses.fields(settings):  # pyright: ignore[reportArgumentType] - a TypeVar cannot be bound to dataclasses
        if field.name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"--{field.name} is missing; it must be {describe_type(hints[field.name])}")
    try:
        return settings(**values)
    except InputError:
        raise
    except ValueError as error:  # from the dataclass's own __post_init__
        raise InputError(str(error)) from error


def check_name(name: str, hints: Mapping[str, Any], place: str, old_names: Mapping[str, str]) -> None:
    """Raise InputError unless there is a setting of this name. place: of the name, for the message."""
    if name in old_names and name not in hints:
        raise InputError(f"{place}: {today(name, hints, old_names)}")
    if name not in hints:
        raise InputError(f"{place}: unknown setting {name}{did_you_mean(name, hints) or '; see --help'}")


def today(name: str, hints: Mapping[str, Any], old_names: Mapping[str, str]) -> str:
    """A sentence on what an old name is called here."""
    new = old_names[name]
    return f"{name} is called {new} here" if new in hints else f"{name} {new}"


def parse_file(
    path: str, hints: Mapping[str, Any], names: dict[str, Any], old_names: Mapping[str, str]
) -> dict[str, Any]:
    """
    The names that the config file at `path` sets, added to `names` (those set by files before it). One InputError has
    all of its old names.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:  # Windows' editors put a byte order mark first
            tree = ast.parse(file.read(), path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such config file (a flag is written --name=value)") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8; a config file holds name = value lines") from None
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise InputError(f"{path}:{line}: {getattr(error, 'msg', error)}; a line is name = value") from None
    except (RecursionError, MemoryError):  # Python's parser, on thousands of brackets or signs
        raise InputError(f"{path}: too deeply nested; a line is name = value") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a config file ({error.strerror})") from None
    names = dict(names)
    old = []
    for node in tree.body:
        place = f"{path}:{node.lineno}"
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            continue  # a docstring
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name, expression = node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            name, expression = node.target.id, node.value
        elif old_names and isinstance(node, ast.Import | ast.ImportFrom):
            old.append(f"line {node.lineno}: nothing is imported, since a config file holds name = value lines only")
            continue
        else:
            raise InputError(f"{place}: a config file holds name = value lines only")
        if name in old_names and name not in hints:
            old.append(f"line {node.lineno}: {today(name, hints, old_names)}")
            with contextlib.suppress(InputError):  # its value may be anything; a line below may name it
                names[name] = evaluate(expression, names, place)
            continue
        value = evaluate(expression, names, place)
        if not name.startswith("_"):
            check_name(name, hints, place, old_names)
            value = check_value(value, hints[name], f"{place}: {name}")
        names[name] = value
    if old:
        raise InputError(f"{path}: {'; '.join(old)}")
    return names


def evaluate(node: ast.AST | None, names: Mapping[str, Any], place: str) -> Any:
    """The value of an expression of literals, arithmetic and names; nothing is called. A list becomes a tuple."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        if node.id in names:
            return names[node.id]
        raise InputError(f"{place}: {node.id} is not set above; quote it if it is text")
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(evaluate(item, names, place) for item in node.elts)
    try:
        if isinstance(node, ast.Dict):
            keys = [evaluate(key, names, place) for key in node.keys]  # the key of {**other} is None: it is refused
            return dict(zip(keys, [evaluate(value, names, place) for value in node.values], strict=True))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            value = evaluate(node.operand, names, place)
            return -value if isinstance(node.op, ast.USub) else +value
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            left, right = evaluate(node.left, names, place), evaluate(node.right, names, place)
            if isinstance(node.op, ast.Pow) and abs(right) > 100:
                raise InputError(f"{place}: a power of more than 100")
            return ARITHMETIC[type(node.op)](left, right)
    except (TypeError, ValueError, ArithmeticError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{place}: {str(error) or 'too large'}") from None
    raise InputError(f"{place}: a value is a literal, arithmetic, or a name set above (files are not executed)")


def union_members(hint: Any) -> tuple[Any, ...]:
    """The types that a field may hold: `float | None` gives (float, NoneType)."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def describe_type(hint: Any) -> str:
    """The type as a person reads it: `a number`, `true or false`, `text, once or more`, `one of a, b`."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}
    members = union_members(hint)
    choices = [choice for member in members if is_literal(member) for choice in typing.get_args(member)]
    if choices:
        rest = "".join(f"{words[member]}, or " for member in members if member in words)
        return rest + ("one of " if len(choices) > 1 else "") + ", ".join(map(str, choices))
    described = []
    for member in members:
        if is_tuple(member):
            described.append(f"{words[typing.get_args(member)[0]]}, once or more")
        elif is_dict(member):
            key, value = typing.get_args(member)
            described.append(f"KEY:VALUE, {words[key]} and {words[value]}, once or more")
        else:
            described.append(words[member])
    return " or ".join(described)


def is_literal(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Literal


def is_tuple(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple


def is_dict(hint: Any) -> bool:
    return typing.get_origin(hint) is dict


def check_value(value: Any, hint: Any, place: str) -> Any:
    """
    `value` if it is of the type `hint`, else InputError. An int is a float, True is no number. What collects several
    values may be given as one: "a" for ("a",), and a dict's entries as text: "198:-100" for {198: -100.0}.
    """
    if isinstance(value, int) and abs(value) >= 2**63:  # torch and numpy count in 64 bits
        raise InputError(f"{place} must be below 2**63")
    if isinstance(value, str) and "\0" in value:  # no path and no environment can hold it
        raise InputError(f"{place} must not hold the character NUL")
    for member in union_members(hint):
        if is_literal(member) and value in typing.get_args(member):
            return value
        if member is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        if member in (int, bool, str, type(None)) and type(value) is member:
            return value
        try:
            if is_tuple(member):
                return tuple(check_item(item, typing.get_args(member)[0], place) for item in as_tuple(value))
            if is_dict(member):
                return check_dict(value, member, place)
        except InputError:
            break  # the message below names the whole value
    raise InputError(f"{place} must be {describe_type(hint)}, not {value!r:.80}")


def check_dict(value: Any, hint: Any, place: str) -> dict[Any, Any]:
    """check_value for a dict, or texts KEY:VALUE."""
    key_type, value_type = typing.get_args(hint)
    if isinstance(value, dict):
        pairs = value.items()
    else:
        pairs = [(key.strip(), item.strip()) for key, _, item in (str(text).partition(":") for text in as_tuple(value))]
    return {check_item(key, key_type, place): check_item(item, value_type, place) for key, item in pairs}


def check_item(item: Any, hint: Any, place: str) -> Any:
    """check_value for one of several values, which a flag or a config file may give as text: "198" for 198."""
    return parse_text(item, hint, place) if isinstance(item, str) else check_value(item, hint, place)


def as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def parse_text(text: str, hint: Any, place: str) -> Any:
    """The flag's `text` as the type `hint`. Where text is wanted it stays text: --start=42 is "42"."""
    members = union_members(hint)
    if type(None) in members and text.lower() == "none":
        return None
    if bool in members and text.lower() in ("true", "yes", "1", "false", "no", "0"):
        return text.lower() in ("true", "yes", "1")
    if any(member is str or is_tuple(member) or is_dict(member) for member in members):
        return check_value(text, hint, place)
    try:
        value = evaluate(ast.parse(text, mode="eval").body, {}, place)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        value = text
    words = [word for member in members if is_literal(member) for word in typing.get_args(member)]
    numeric = any(member in (int, float) for member in members)
    return check_value(text if text in words or words and not numeric else value, hint, place)


def help_text(settings: type) -> str:
    """What `--help` prints: the docstring, then each field with its type, default and comment."""
    hints = typing.get_type_hints(settings)
    comments = field_comments(settings)
    lines = [
        inspect.cleandoc(settings.__doc__ or ""),
        "",
        "usage: python SCRIPT.py [CONFIG.py ...] [--name=value ...]",
        "",
    ]
    for field in dataclasses.fields(settings):
        default = "" if field.default is dataclasses.MISSING else repr(field.default)
        if field.default_factory is not dataclasses.MISSING:
            default = repr(field.default_factory())
        lines.append(f"  --{field.name}={default}  ({describe_type(hints[field.name])})")
        if comments.get(field.name):
            lines.append(f"        {comments[field.name]}")
    return "\n".join(lines)


def field_comments(settings: type) -> dict[str, str]:
    """Field name -> the comment behind its declaration, and those on the lines right below it."""
    comments: dict[str, str] = {}
    for cls in reversed(settings.__mro__):
        if not dataclasses.is_dataclass(cls):
            continue
        name = None
        for token in tokenize.generate_tokens(io.StringIO(inspect.getsource(cls)).readline):
            declares = token.type == tokenize.NAME and token.line.strip().startswith(token.string)
            if declares and token.string in cls.__annotations__:
                name = token.string
            elif token.type == tokenize.COMMENT and name:
                comments[name] = (comments.get(name, "") + " " + token.string.lstrip("# ")).strip()
            elif token.type == tokenize.NL and not token.line.strip():
                name = None  # an empty line ends a comment
    return comments
