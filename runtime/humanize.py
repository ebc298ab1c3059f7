"""Numbers as people read them."""


def duration(seconds: float) -> str:
    """
    >>> duration(75), duration(600), duration(9000)
    ('75 s', '10 min', '2.5 h')
    """
    if seconds >= 7200:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def millions(n: float) -> str:
    """
    >>> millions(13_900_000), millions(124_439_808)
    ('13.9M', '124M')
    """
    return f"{n / 1e6:.1f}M" if n < 1e8 else f"{n / 1e6:.0f}M"
