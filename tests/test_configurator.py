"""
Settings come from files that are parsed and never run, and from flags that beat them; whatever is wrong is one line
that says where and what would be right.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Literal

import pytest
from conftest import ROOT

import configurator
from dataset.prepare import PrepareConfig
from runtime.errors import InputError, did_you_mean


@dataclass(frozen=True)
class Shared:
    """What several scripts share."""

    out_dir: str = "out"  # where the model is
    learning_rate: float = 1e-3  # the highest;
    # the schedule lowers it


@dataclass(frozen=True)
class Settings(Shared):
    """Settings of every type."""

    max_iters: int = 100  # steps
    start: str = ""  # text to go on from
    compile: bool | None = None
    grad_clip: float | None = 1.0  # None disables it
    dtype: Literal["float32", "bfloat16"] = "float32"
    stop: tuple[str, ...] = ()  # stop words
    ids: tuple[int, ...] = ()
    bias: dict[int, float] = field(default_factory=dict)  # by id

    def __post_init__(self):
        if self.max_iters < 0:
            raise ValueError(f"max_iters ({self.max_iters}) must be at least 0")


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A function that writes a config file and returns its name, relative to the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(content, name="a.py"):
        content = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(content)
        return name

    return write


def loaded(*words):
    return configurator.load(Settings, list(words))


def error(*words):
    with pytest.raises(InputError) as caught:
        loaded(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_parsed_not_executed(file, tmp_path):
    """A call, an import, a comprehension or an attribute in a file is refused with its line, and has no effect."""
    mark = tmp_path / "mark"
    for line in (
        f"start = open({str(mark)!r}, 'w')",
        f"import os; os.mkdir({str(mark)!r})",
        "start = ''.join(['a'])",
        "start = [x for x in 'ab']",
        "start = f'{1}'",
        "start = (lambda: 1)()",
        "max_iters += 1",
        "if True: max_iters = 3",
        "max_iters: int",
    ):
        assert error(file(f"# a comment\n{line}\n")).startswith("a.py:2: ")
    assert not mark.exists()


def test_a_value_is_a_literal_arithmetic_or_a_name_above(file):
    """Lines may compute with numbers and with names set above them, in this file or an earlier one."""
    first = file("_tokens = 2**10 * 3 // 2\nlearning_rate = -(1 - 3) * 1e-4\nstart = 'a' + 'b'\n", "first.py")
    second = file("'''why'''\nmax_iters: int = _tokens % 1000\ngrad_clip = learning_rate / 2\n", "second.py")
    assert loaded(first, second) == Settings(
        max_iters=536, learning_rate=2e-4, grad_clip=1e-4, start="ab", out_dir="out"
    )
    assert error(second) == "second.py:2: _tokens is not set above; quote it if it is text"


def test_flags_beat_files_in_any_order(file):
    """--max_iters=7 holds whether it stands before or after the file; of two files or flags the last holds."""
    first, second = file("max_iters = 1\nstart = 'x'\n", "first.py"), file("max_iters = 2\n", "second.py")
    assert loaded("--max_iters=7", first).max_iters == loaded(first, "--max_iters=7").max_iters == 7
    assert loaded(first, second).max_iters == 2 and loaded(second, first).max_iters == 1
    assert loaded("--max_iters=7", first, "--max_iters=8") == Settings(max_iters=8, start="x")


@pytest.mark.parametrize(
    "flag, name, value",
    [
        ("--learning_rate=1", "learning_rate", 1.0),  # an int is a float
        ("--learning_rate=3e-4", "learning_rate", 3e-4),
        ("--max_iters=2*10**3", "max_iters", 2000),
        ("--compile=false", "compile", False),
        ("--compile=No", "compile", False),
        ("--compile=1", "compile", True),
        ("--compile", "compile", True),
        ("--compile=none", "compile", None),
        ("--start=42", "start", "42"),  # text stays text
        ("--start=True", "start", "True"),
        ("--start='q'", "start", "'q'"),
        ("--start=a=b --c", "start", "a=b --c"),
        ("--start=", "start", ""),
        ("--out_dir=1e3", "out_dir", "1e3"),
        ("--grad_clip=None", "grad_clip", None),
        ("--dtype=bfloat16", "dtype", "bfloat16"),
        ("--stop=7", "stop", ("7",)),
        ("--ids=7", "ids", (7,)),
        ("--ids=2**10", "ids", (1024,)),
        ("--bias=198:-100", "bias", {198: -100.0}),
        ("--bias=198: 1e-3", "bias", {198: 0.001}),
    ],
)
def test_a_flag_has_the_type_of_its_field(flag, name, value):
    """Each flag's text becomes the declared type."""
    found = getattr(loaded(flag), name)
    assert found == value and type(found) is type(value)


def test_a_tuple_collects(file):
    """--stop may be given several times; in a file it is a list, a tuple, or one text."""
    assert loaded("--stop=a", "--stop=b b").stop == ("a", "b b")
    assert loaded(file("stop = ['a', 'b']\n")).stop == ("a", "b")
    assert loaded(file("stop = 'a'\n")).stop == ("a",)
    assert loaded("--ids=7", "--ids=8").ids == (7, 8)
    for content in ("[7, 8]", "(7, 8)", "['7', 8]"):
        assert loaded(file(f"ids = {content}\n")).ids == (7, 8)
    assert loaded(file("ids = 7\n")).ids == (7,)


def test_a_dict_collects(file):
    """--bias=198:-100 may be given several times, the last holds for a key; in a file it is a dict, or the texts."""
    assert loaded("--bias=198:-100", "--bias=7:1", "--bias=7:2.5").bias == {198: -100.0, 7: 2.5}
    for content in ("{198: -100, 7: 5 / 2}", "['198:-100', '7:2.5']"):
        found = loaded(file(f"bias = {content}\n")).bias
        assert found == {198: -100.0, 7: 2.5} and all(type(value) is float for value in found.values())
    assert loaded(file("bias = '198:-100'\n")).bias == {198: -100.0}
    assert loaded(file("_eot = 198\nbias = {_eot: -100}\n")).bias == {198: -100.0}


def test_odd_files_load(file):
    """A byte order mark, Windows' line ends, and no line at all are fine."""
    assert loaded(file(b"\xef\xbb\xbfmax_iters = 3\r\nstart = 'a'\r\n")) == Settings(max_iters=3, start="a")
    assert loaded(file("")) == Settings()


@pytest.mark.parametrize(
    "content, message",
    [
        ("\nmax_iter = 1\n", "a.py:2: unknown setting max_iter, did you mean max_iters?"),
        ("zzz = 1\n", "a.py:1: unknown setting zzz; see --help"),
        ("max_iters = = 1\n", "a.py:1: invalid syntax; a line is name = value"),
        ("max_iters = 1.5\n", "a.py:1: max_iters must be a whole number, not 1.5"),
        ("max_iters = True\n", "a.py:1: max_iters must be a whole number, not True"),
        ("learning_rate = '1'\n", "a.py:1: learning_rate must be a number, not '1'"),
        ("learning_rate = nan\n", "a.py:1: nan is not set above; quote it if it is text"),
        ("learning_rate = 1e999 - 1e999\n", "a.py:1: learning_rate must be a number, not nan"),
        ("learning_rate = 1 / 0\n", "a.py:1: division by zero"),
        ("learning_rate = 2.0**100**100\n", "a.py:1: a power of more than 100"),
        (f"learning_rate = 1{'0' * 400}\n", "a.py:1: learning_rate must be below 2**63"),
        (f"max_iters = 1{'0' * 30}\n", "a.py:1: max_iters must be below 2**63"),
        ("start = 'a' * 10**15\n", "a.py:1: too large"),
        ("start = 'a' + 1\n", 'a.py:1: can only concatenate str (not "int") to str'),
        ("dtype = 'float'\n", "a.py:1: dtype must be one of float32, bfloat16, not 'float'"),
        ("stop = [1]\n", "a.py:1: stop must be text, once or more, not (1,)"),
        ("ids = [1.5]\n", "a.py:1: ids must be a whole number, once or more, not (1.5,)"),
        (
            "bias = {'a': 1}\n",
            "a.py:1: bias must be KEY:VALUE, a whole number and a number, once or more, not {'a': 1}",
        ),
        ("bias = {**3}\n", "a.py:1: a value is a literal, arithmetic, or a name set above (files are not executed)"),
        ("bias = {{}: 1}\n", "a.py:1: unhashable type: 'dict'"),
        ("max_iters = {1: 2}\n", "a.py:1: max_iters must be a whole number, not {1: 2}"),
        ("compile = 'false'\n", "a.py:1: compile must be true or false or none, not 'false'"),
        (b"\xff\x00", "a.py: not a text file in UTF-8; a config file holds name = value lines"),
        ("max_iters = " + "-" * 50_000 + "1\n", "a.py: too deeply nested; a line is name = value"),
        ("max_iters = " + "+".join("1" * 30_000) + "\n", "a.py: too deeply nested; a line is name = value"),
    ],
)
def test_each_mistake_in_a_file_has_its_line(file, content, message):
    """One line: file, line number, what is wrong, what would be right."""
    assert error(file(content)) == message


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--max_iter=1", "--max_iter=1: unknown setting max_iter, did you mean max_iters?"),
        ("--max_iters", "--max_iters: write --max_iters=VALUE, without spaces"),
        ("--max_iters=", "--max_iters must be a whole number, not ''"),
        ("--max_iters=-1", "max_iters (-1) must be at least 0"),
        ("--max_iters=" + "-" * 50_000 + "1", f"--max_iters must be a whole number, not '{'-' * 79}"),
        ("--learning_rate=nan", "--learning_rate must be a number, not 'nan'"),
        (f"--learning_rate={'9' * 400}", "--learning_rate must be below 2**63"),
        ("--ids=x", "--ids must be a whole number, once or more, not 'x'"),
        ("--ids=1.0", "--ids must be a whole number, once or more, not '1.0'"),
        ("--bias=198", "--bias must be KEY:VALUE, a whole number and a number, once or more, not '198'"),
        ("--bias=1.5:2", "--bias must be KEY:VALUE, a whole number and a number, once or more, not '1.5:2'"),
        ("--bias=1:nan", "--bias must be KEY:VALUE, a whole number and a number, once or more, not '1:nan'"),
        ("--compile=maybe", "--compile must be true or false or none, not 'maybe'"),
        ("-h2", "-h2: no such config file (a flag is written --name=value)"),
        ("3", "3: no such config file (a flag is written --name=value)"),
        ("--start=a\0b", "--start must not hold the character NUL"),
        ("--stop=a\0b", "--stop must not hold the character NUL"),
        (".", ".: cannot be read as a config file (Is a directory)"),
    ],
)
def test_each_mistake_in_a_flag_is_one_line(flag, message):
    """The flag, what is wrong, what would be right."""
    assert error(flag) == message


def test_what_is_remembered_stands_for_the_defaults(file):
    """Files and flags beat it, what the class has not is passed over, and a value of another type is named."""
    path, seen = file("start = 'file'\n"), []

    def remembered(given):
        seen.append(dict(given))
        return {"max_iters": 7, "start": "old", "grad_clip": None, "gone": 1}

    found = configurator.load(Settings, ["--grad_clip=2", path], remembered)
    assert found == Settings(max_iters=7, start="file", grad_clip=2.0)
    assert seen == [{"grad_clip": 2.0, "start": "file"}]
    with pytest.raises(InputError, match="^max_iters of the earlier run must be a whole number, not 'x'$"):
        configurator.load(Settings, [], lambda given: {"max_iters": "x"})


def test_an_old_name_is_told_the_new_one(file):
    """A flag's by itself, a file's all at once with their lines; where nothing is old, nothing changes."""

    @dataclass(frozen=True)
    class Renamed(Settings):
        """With names from elsewhere."""

        old_names = {"steps": "max_iters", "bias": "max_iters", "backend": "is not needed"}

    def said(*words):
        with pytest.raises(InputError) as caught:
            configurator.load(Renamed, list(words))
        return str(caught.value)

    assert said("--steps=3") == "--steps=3: steps is called max_iters here"
    assert said("--backend=nccl") == "--backend=nccl: backend is not needed"
    path = file("steps = 3\nstart = 'x'\nbackend = 'nccl'\nmax_iters = steps\n")
    assert said(path) == "a.py: line 1: steps is called max_iters here; line 3: backend is not needed"
    assert configurator.load(Renamed, ["--bias=1:2"]).bias == {1: 2.0}  # a setting's own name holds
    assert "did you mean max_iters?" in said("--max_iter=3")


def test_a_field_without_default_is_asked_for():
    """A setting that has no default and was not given is named."""

    @dataclass(frozen=True)
    class Needy:
        folder: str

    with pytest.raises(InputError, match="--folder is missing; it must be text"):
        configurator.load(Needy, [])


def test_help_comes_from_the_declarations(capsys):
    """--help shows each field, inherited ones too, with type, default and comment, and ends with 0."""
    with pytest.raises(SystemExit) as ended:
        loaded("--max_iters=x", "--help")
    assert ended.value.code == 0
    assert capsys.readouterr().out == (
        "Settings of every type.\n\nusage: python SCRIPT.py [CONFIG.py ...] [--name=value ...]\n\n"
        "  --out_dir='out'  (text)\n        where the model is\n"
        "  --learning_rate=0.001  (a number)\n        the highest; the schedule lowers it\n"
        "  --max_iters=100  (a whole number)\n        steps\n"
        "  --start=''  (text)\n        text to go on from\n"
        "  --compile=None  (true or false or none)\n"
        "  --grad_clip=1.0  (a number or none)\n        None disables it\n"
        "  --dtype='float32'  (one of float32, bfloat16)\n"
        "  --stop=()  (text, once or more)\n        stop words\n"
        "  --ids=()  (a whole number, once or more)\n"
        "  --bias={}  (KEY:VALUE, a whole number and a number, once or more)\n        by id\n"
    )


def test_every_setting_of_prepare_has_its_help():
    """Each field of a real script's settings has a comment, which is its help."""
    assert set(configurator.field_comments(PrepareConfig)) == set(PrepareConfig.__dataclass_fields__)


SCRIPT = """
import errno, os, sys
from dataclasses import dataclass
import configurator
@dataclass(frozen=True)
class Settings:
    fail: str = "no"
def script(settings):
    if settings.fail == "input":
        raise configurator.InputError("out-chat has\\nno model")
    if settings.fail == "disk":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if settings.fail == "folder":
        open(os.curdir)
    if settings.fail == "memory":
        raise MemoryError
    if settings.fail == "stop":
        raise KeyboardInterrupt
    print("naïve 🐆")
    print("more " * 100_000)
configurator.main(script, Settings)
"""


@pytest.mark.parametrize(
    "fail, code, line",
    [
        ("input", 2, "error: out-chat has no model\n"),
        ("disk", 2, "error: input or output: No space left on device\n"),
        ("folder", 2, "error: .: Is a directory\n"),
        ("memory", 2, "error: there is not enough memory; a smaller model, batch or context would do\n"),
        ("stop", 130, "\nstopped\n"),
    ],
)
def test_a_failing_script_ends_with_one_line(fail, code, line):
    """No traceback: one line on standard error, nothing on standard output, exit status 2 (130 after Ctrl-C)."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, f"--fail={fail}"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout) == (code, line, "")


@pytest.mark.parametrize("value, shown", [("1", True), ("0", False), ("", False)])
def test_debugging_shows_the_traceback(value, shown):
    """With NANOCHATGPT_DEBUG=1 the traceback stands before the line; exit status and line are the same."""
    env = {**os.environ, "NANOCHATGPT_DEBUG": value}
    for fail, code, line in (("input", 2, "error: out-chat has no model\n"), ("stop", 130, "\nstopped\n")):
        command = [sys.executable, "-c", SCRIPT, f"--fail={fail}"]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.returncode == code and done.stderr.endswith(line)
        assert ("Traceback" in done.stderr and ", in script\n" in done.stderr) == shown == (done.stderr != line)


def test_did_you_mean():
    """The nearest of the choices ends the sentence of an error; where none is near, nothing is added."""
    assert did_you_mean("max_iter", ["min_iters", "max_iters"]) == ", did you mean max_iters?"
    assert did_you_mean("zzz", iter(["max_iters"])) == did_you_mean("x", []) == ""


def test_output_that_nobody_reads_or_can_show():
    """`| head` ends a script in silence; a terminal without the letter shows a question mark."""
    command = f'"{sys.executable}" -c "$SCRIPT" | head -n 1'
    env = {**os.environ, "SCRIPT": SCRIPT, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=env, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("na?ve ?\n", "")


def test_a_real_script_tells_a_typo(tmp_path):
    """prepare.py with a misspelt setting in a config file: one line with file and line, exit status 2."""
    (tmp_path / "typo.py").write_text("\nlimt = 3\n")
    script = [sys.executable, str(ROOT / "data" / "chitchat" / "prepare.py"), "typo.py"]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: typo.py:2: unknown setting limt, did you mean limit?\n"
