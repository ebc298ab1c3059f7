"""
How every picture of this project looks: its size, its colours, its grid, and how it is written.

    picture = figure.new_figure()
    axes = picture.subplots()
    axes.plot(steps, losses, color=figure.BLUE)
    figure.style_axes(axes)
    figure.save(picture, "loss.png")
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runtime import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE = "#1f6fb4"  # our model, or the only line
ORANGE = "#d9822b"  # the model beside it
DARK_GREY = "#6b6b6b"  # people, and words in the picture
GREY = "#9a9a9a"  # other programs, and lines that only guide the eye


def new_figure(width: float = 7.0, height: float = 4.0, dpi: int = 120) -> "Figure":
    """An empty matplotlib Figure of width x height inches at `dpi` pixels an inch; it needs no screen."""
    from matplotlib.figure import Figure  # half a second to import, so only those who draw pay for it

    return Figure(figsize=(width, height), dpi=dpi, layout="constrained")


def as_letters(text: str) -> str:
    """A text that can be drawn: bytes of a path that are no UTF-8 as escapes. (Dollars are a matter of parse_math.)"""
    return text.encode("utf-8", "backslashreplace").decode()


def style_axes(axes: "Axes", grid: Literal["x", "y", "both"] | None = None) -> None:
    """Take the top and right border off the axes, and lay a faint grid behind the lines along `grid`."""
    axes.spines[["top", "right"]].set_visible(False)
    if grid:
        axes.grid(axis=grid, alpha=0.3)


def save(picture: "Figure", path: str | Path) -> None:
    """Write a Figure as a PNG file, whole or not at all. The same picture gives the same bytes."""
    with atomic.file(path) as new:
        picture.savefig(new, format="png", metadata={"Software": None})  # else matplotlib's version is in the file
