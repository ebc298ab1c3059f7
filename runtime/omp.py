"""
How long OpenMP's threads look for the next piece of work before they sleep. Nothing heavy is imported here, because
libgomp reads the setting when torch is loaded.
"""

import os

SPINS = 3000  # looks; by default 300,000, for which a thread keeps a core from the one that it waits for (NOTES.md)


def spin_briefly() -> None:
    """To be called before torch is imported. Whoever has set one of OpenMP's own variables has chosen."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
