"""
How long OpenMP's threads look for the next piece of work before they sleep. torch is not imported here, because libgomp
reads the setting when it is loaded.
"""

import os

import psutil

SPINS = 3000  # looks; by default 300,000, for which a thread keeps a core from the one that it waits for (NOTES.md)
BUSY = 0.5  # cores that others use
SECONDS = 0.1  # for which that is measured


def spin_less_when_busy() -> None:
    """
    Beside programs that use the cores, threads sleep soon; on a quiet machine those that look are a tenth faster. To be
    called before torch is imported. Whoever has set one of OpenMP's own variables has chosen.
    """
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        return
    if psutil.cpu_percent(SECONDS) / 100 * (psutil.cpu_count() or 1) >= BUSY:
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)
