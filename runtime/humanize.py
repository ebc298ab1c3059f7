"""Numbers as people read them."""


def duration(seconds):
    return (
        f"{seconds / 3600:.1f} h"
        if seconds >= 7200
        else f"{seconds / 60:.0f} min"
        if seconds >= 90
        else f"{seconds:.0f} s"
    )


def millions(n):
    return f"{n / 1e6:.1f}M" if n < 1e8 else f"{n / 1e6:.0f}M"
