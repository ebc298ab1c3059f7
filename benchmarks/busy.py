"""
A busy machine: processes that do nothing but keep cores busy, as a browser or a call does beside us.

    with busy(1):
        ...                     # one core is taken
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

# it ends with its parent, however that ends
SPIN = """
import os, sys
print(flush=True)
while os.getppid() == int(sys.argv[1]):
    for _ in range(1_000_000):
        pass
"""


@contextlib.contextmanager
def busy(n: int) -> Iterator[list[subprocess.Popen]]:
    """n processes that spin, of this one's priority, from the first moment on until the end of the block."""
    with contextlib.ExitStack() as stack:
        spinning = []
        for _ in range(n):
            command = [sys.executable, "-S", "-E", "-c", SPIN, str(os.getpid())]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            spinning.append(process)
        for process in spinning:
            assert process.stdout
            process.stdout.readline()  # it has begun
        yield spinning
