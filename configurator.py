"""
Settings: a dataclass, then config files, then flags, into one typed and checked object.

    $ python train.py config/finetune_chat.py --batch_size=32
    $ python train.py --help

A config file is `name = value` lines: it is parsed, never executed. A value is a literal, arithmetic on literals, or a
name set above; a name that begins with an underscore is the file's own. Flags beat files, wherever they stand. A
field's trailing comment is its help.
"""

import ast
import dataclasses
import difflib
import inspect
import io
import math
import operator
import sys
import tokenize
import types
import typing

from runtime.errors import InputError

ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def main(script, settings):
    """Run `script(load(settings))` and turn every expected failure into one line and exit status 2."""
    sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a letter shows a ? in its place
    try:
        script(load(settings))
    except InputError as error:
        quit_with(str(error))
    except BrokenPipeError:  # `python sample.py | head`: the reader has seen enough
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:  # a full disk, a missing right
        quit_with(f"{error.filename or 'input or output'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)


def quit_with(message):
    sys.stdout.flush()
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)


def load(settings, argv=None):
    """
    An instance of the dataclass `settings`, from `argv` (default: the command line).
    Raises InputError, with file and line number where there is one. `--help` prints the fields and exits with 0.
    """
    argv = sys.argv[1:] if argv is None else argv
    if "--help" in argv or "-h" in argv:
        print(help_text(settings))
        sys.exit(0)
    hints = typing.get_type_hints(settings)
    values = {}
    names = {}
    for path in (word for word in argv if not word.startswith("--")):
        names = parse_file(path, settings, hints, names)
        values.update({name: value for name, value in names.items() if not name.startswith("_")})
    flags = {}
    for word in (word for word in argv if word.startswith("--")):
        name, given, text = word[2:].partition("=")
        check_name(name, hints, word)
        if not given and bool not in union_members(hints[name]):
            raise InputError(f"{word}: write {word}=VALUE, without spaces")
        value = parse_text(text if given else "true", hints[name], f"--{name}")
        flags[name] = flags[name] + value if name in flags and isinstance(value, tuple) else value
    values.update(flags)
    for field in dataclasses.fields(settings):
        if field.name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"--{field.name} is missing; it must be {describe_type(hints[field.name])}")
    try:
        return settings(**values)
    except InputError:
        raise
    except ValueError as error:  # from the dataclass's own __post_init__
        raise InputError(str(error)) from error


def check_name(name, hints, where):
    if name not in hints:
        near = difflib.get_close_matches(name, hints, n=1)
        raise InputError(
            f"{where}: unknown setting {name}" + (f", did you mean {near[0]}?" if near else "; see --help")
        )


def parse_file(path, settings, hints, names):
    """The names that the config file at `path` sets, added to `names` (those set by files before it)."""
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
    for node in tree.body:
        where = f"{path}:{node.lineno}"
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            continue  # a docstring
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            name, value = node.target.id, node.value
        else:
            raise InputError(f"{where}: a config file holds name = value lines only")
        value = evaluate(value, names, where)
        if not name.startswith("_"):
            check_name(name, hints, where)
            value = check_value(value, hints[name], f"{where}: {name}")
        names[name] = value
    return names


def evaluate(node, names, where):
    """The value of an expression of literals, arithmetic and names; nothing is called."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        if node.id in names:
            return names[node.id]
        raise InputError(f"{where}: {node.id} is not set above; quote it if it is text")
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(evaluate(item, names, where) for item in node.elts)
    try:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            value = evaluate(node.operand, names, where)
            return -value if isinstance(node.op, ast.USub) else +value
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            left, right = evaluate(node.left, names, where), evaluate(node.right, names, where)
            if isinstance(node.op, ast.Pow) and abs(right) > 100:
                raise InputError(f"{where}: a power of more than 100")
            return ARITHMETIC[type(node.op)](left, right)
    except (TypeError, ValueError, ArithmeticError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: {str(error) or 'too large'}") from None
    raise InputError(f"{where}: a value is a literal, arithmetic, or a name set above (files are not executed)")


def union_members(hint):
    """The types that a field may hold: `float | None` gives (float, NoneType)."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def describe_type(hint):
    """The type as a person reads it: `number`, `true or false`, `text`, `one of a, b`."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}
    choices = [c for one in union_members(hint) for c in (typing.get_args(one) if is_literal(one) else ())]
    if choices:
        rest = "".join(f"{words[one]}, or " for one in union_members(hint) if one in words)
        return rest + ("one of " if len(choices) > 1 else "") + ", ".join(map(str, choices))
    return " or ".join("text, once or more" if is_tuple(one) else words[one] for one in union_members(hint))


def is_literal(hint):
    return typing.get_origin(hint) is typing.Literal


def is_tuple(hint):
    return typing.get_origin(hint) is tuple


def check_value(value, hint, where):
    """`value` if it is of the type `hint` (an int is a float; True is no number), else InputError."""
    if isinstance(value, int) and abs(value) >= 2**63:  # torch and numpy count in 64 bits
        raise InputError(f"{where} must be below 2**63")
    for one in union_members(hint):
        if is_literal(one) and value in typing.get_args(one):
            return value
        if is_tuple(one) and isinstance(value, tuple | str):
            value = (value,) if isinstance(value, str) else value
            if all(isinstance(item, str) for item in value):
                return value
        if one is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        if one in (int, bool, str, type(None)) and type(value) is one:
            return value
    raise InputError(f"{where} must be {describe_type(hint)}, not {value!r:.80}")


def parse_text(text, hint, where):
    """The flag's `text` as the type `hint`. Where text is wanted it stays text: --start=42 is "42"."""
    kinds = union_members(hint)
    if type(None) in kinds and text.lower() == "none":
        return None
    if bool in kinds and text.lower() in ("true", "yes", "1", "false", "no", "0"):
        return text.lower() in ("true", "yes", "1")
    if any(one is str or is_tuple(one) for one in kinds):
        return check_value(text, hint, where)
    try:
        value = evaluate(ast.parse(text, mode="eval").body, {}, where)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        value = text
    words = [word for one in kinds if is_literal(one) for word in typing.get_args(one)]
    numeric = any(one in (int, float) for one in kinds)
    return check_value(text if text in words or words and not numeric else value, hint, where)


def help_text(settings):
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
        default = "" if field.default is dataclasses.MISSING else f"{field.default!r}"
        lines.append(f"  --{field.name}={default}  ({describe_type(hints[field.name])})")
        if comments.get(field.name):
            lines.append(f"        {comments[field.name]}")
    return "\n".join(lines)


def field_comments(settings):
    """Field name -> the comment behind its declaration, and those on the lines right below it."""
    comments = {}
    for cls in reversed(settings.__mro__):
        if not dataclasses.is_dataclass(cls):
            continue
        name = None
        for token in tokenize.generate_tokens(io.StringIO(inspect.getsource(cls)).readline):
            if (
                token.type == tokenize.NAME
                and token.string in cls.__annotations__
                and token.line.strip().startswith(token.string)
            ):
                name = token.string
            elif token.type == tokenize.COMMENT and name:
                comments[name] = (comments.get(name, "") + " " + token.string.lstrip("# ")).strip()
            elif token.type == tokenize.NL and not token.line.strip():
                name = None  # an empty line ends a comment
    return comments
