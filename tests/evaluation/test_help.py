"""--help and a wrong flag are answered before anything heavy is imported."""

import subprocess
import sys

import pytest
from conftest import ROOT

HEAVY = ("torch", "numpy", "matplotlib", "transformers", "httpx", "tqdm")


@pytest.mark.parametrize("verb", ["evaluate", "bench"])
@pytest.mark.parametrize(("flag", "status"), [("--help", 0), ("--no_such_flag=1", 2)])
def test_help_imports_nothing_heavy(verb, flag, status):
    """Seconds of imports are for those who measure."""
    code = (
        "import runpy, sys\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        f"finally:\n    print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    start = f"import sys; sys.argv = ['{verb}.py', '{flag}']; sys.path.insert(0, '.')\n"
    done = subprocess.run([sys.executable, "-c", start + code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == status and done.stderr.splitlines()[-1] == "[]", done.stderr
